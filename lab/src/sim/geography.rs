//! Where relays and clients are, and how long light takes between them.

use utcp::time::Micros;

use crate::rng::Rng;

/// Name, latitude and longitude in degrees, and about how much of the network's relays stand there.
const CITIES: &[(&str, f64, f64, u64)] = &[
    ("Frankfurt", 50.1, 8.7, 20),
    ("Amsterdam", 52.4, 4.9, 14),
    ("Paris", 48.9, 2.4, 11),
    ("Stockholm", 59.3, 18.1, 5),
    ("Zurich", 47.4, 8.5, 5),
    ("London", 51.5, -0.1, 5),
    ("Warsaw", 52.2, 21.0, 3),
    ("Bucharest", 44.4, 26.1, 4),
    ("Helsinki", 60.2, 24.9, 3),
    ("Madrid", 40.4, -3.7, 2),
    ("New York", 40.7, -74.0, 8),
    ("Dallas", 32.8, -96.8, 4),
    ("Los Angeles", 34.1, -118.2, 5),
    ("Montreal", 45.5, -73.6, 3),
    ("Sao Paulo", -23.6, -46.6, 1),
    ("Tokyo", 35.7, 139.7, 2),
    ("Singapore", 1.4, 103.8, 2),
    ("Sydney", -33.9, 151.2, 1),
];

/// A place on the Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    latitude: f64,
    longitude: f64,
}

impl Position {
    /// Near one of the cities, by their weights, within about 150 km.
    pub fn draw(rng: &mut Rng) -> Position {
        let total: u64 = CITIES.iter().map(|c| c.3).sum();
        let mut left = rng.below(total);
        let city = CITIES.iter().find(|city| {
            let here = left < city.3;
            left = left.saturating_sub(city.3);
            here
        });
        let (_, latitude, longitude, _) = city.expect("the weights add up");
        let mut near = || rng.between(0, 2_800) as f64 / 1_000.0 - 1.4;
        Position {
            latitude: latitude + near(),
            longitude: longitude + near(),
        }
    }

    /// Along the surface, in km (haversine).
    fn distance(self, other: Position) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let across = (other.longitude - self.longitude).to_radians();
        let h = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (across / 2.0).sin().powi(2);
        2.0 * 6_371.0 * h.sqrt().min(1.0).asin()
    }

    /// One way: light in fibre makes 200 km a millisecond, cables are longer than great circles by about a half, and
    /// a millisecond is lost at each end.
    pub fn delay(self, other: Position) -> Micros {
        (self.distance(other) * 1.5 / 200.0 * 1_000.0) as Micros + 2_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_those_of_the_earth() {
        let at = |name: &str| {
            let city = CITIES.iter().find(|c| c.0 == name).unwrap();
            Position {
                latitude: city.1,
                longitude: city.2,
            }
        };
        let ms = |a, b| at(a).delay(at(b)) / 1_000;
        assert_eq!(ms("Frankfurt", "Frankfurt"), 2);
        // Great circle 6,200 km.
        assert!((45..=52).contains(&ms("Frankfurt", "New York")));
        assert!(
            (110..=135).contains(&ms("London", "Sydney")),
            "{}",
            ms("London", "Sydney")
        );
        assert_eq!(ms("Tokyo", "Paris"), ms("Paris", "Tokyo"));
    }

    #[test]
    fn positions_follow_the_weights() {
        let mut rng = Rng::new(1, 0);
        let draws: Vec<Position> = (0..2_000).map(|_| Position::draw(&mut rng)).collect();
        let west = draws.iter().filter(|p| p.longitude < -30.0).count();
        // 21 of 98.
        assert!((340..=520).contains(&west), "{west}");
    }
}
