//! The colours of all charts: blues and greens are utcp, warm and grey ones are others.

use plotters::style::RGBColor;

/// Of what is written.
pub const INK: RGBColor = RGBColor(31, 41, 55);
/// Of axes and their lines.
pub const PALE: RGBColor = RGBColor(226, 232, 240);
/// Of events.
pub const EVENT: RGBColor = RGBColor(220, 38, 38);

/// Of utcp in its forms.
pub const OURS: [RGBColor; 6] = [
    RGBColor(37, 99, 235),
    RGBColor(13, 148, 136),
    RGBColor(124, 58, 237),
    RGBColor(14, 165, 233),
    RGBColor(22, 163, 74),
    RGBColor(67, 56, 202),
];

const OTHERS: [RGBColor; 9] = [
    RGBColor(217, 119, 6),
    RGBColor(107, 114, 128),
    RGBColor(190, 24, 93),
    RGBColor(146, 64, 14),
    RGBColor(202, 138, 4),
    RGBColor(51, 65, 85),
    RGBColor(234, 88, 12),
    RGBColor(168, 85, 247),
    RGBColor(132, 204, 22),
];

/// Of what is neither, such as quantiles.
pub const MIXED: [RGBColor; 6] = [OURS[0], OTHERS[0], OTHERS[2], OURS[1], OTHERS[1], OURS[2]];

/// Whether a variant is utcp in some form.
pub fn is_ours(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("utcp") || name.contains("patched") && !name.contains("unpatched")
}

/// A colour for each name.
pub fn colours(names: &[&str]) -> Vec<RGBColor> {
    let (mut ours, mut others) = (0, 0);
    let pick = |name: &&str| {
        let (palette, next): (&[RGBColor], &mut usize) = if is_ours(name) {
            (&OURS, &mut ours)
        } else {
            (&OTHERS, &mut others)
        };
        *next += 1;
        palette[(*next - 1) % palette.len()]
    };
    names.iter().map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_others_have_different_colours() {
        let names = ["vanilla, cubic", "patched, cubic", "unpatched", "utcp"];
        assert!(!is_ours("unpatched") && is_ours("patched 0.2.0.35, fixed, cubic"));
        let all = colours(&names);
        assert_eq!(all, [OTHERS[0], OURS[0], OTHERS[1], OURS[1]]);
    }
}
