//! Cells as they travel: 514 octets, of which the simulator needs the first few.

/// Octets of a cell.
pub const SIZE: usize = 514;

/// Octets of data in a cell.
pub const DATA: usize = 498;

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the exit: begin an answer of so many cells.
    Request(u32),
    /// To the client: part of an answer.
    Data,
    /// To the exit: a number of cells have been taken.
    Sendme,
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Number of its circuit.
    pub circuit: u32,
    /// Counts the cells of a circuit in one direction.
    pub number: u32,
    /// What it is for.
    pub kind: Kind,
}

impl Cell {
    /// As it travels.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        let (kind, count) = match self.kind {
            Kind::Request(count) => (1, count),
            Kind::Data => (2, 0),
            Kind::Sendme => (3, 0),
        };
        out[..4].copy_from_slice(&self.circuit.to_be_bytes());
        out[4..8].copy_from_slice(&self.number.to_be_bytes());
        out[8] = kind;
        out[9..13].copy_from_slice(&count.to_be_bytes());
        out
    }

    /// The cell in `octets`, whole.
    ///
    /// # Panics
    /// If it is none: a transport has damaged it.
    pub fn decode(octets: &[u8]) -> Cell {
        let word = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("4 octets"));
        let kind = match octets[8] {
            1 => Kind::Request(word(9)),
            2 => Kind::Data,
            3 => Kind::Sendme,
            other => panic!("a cell of kind {other}"),
        };
        Cell {
            circuit: word(0),
            number: word(4),
            kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_arrive_as_they_were_sent() {
        for kind in [Kind::Request(77), Kind::Data, Kind::Sendme] {
            let cell = Cell {
                circuit: 0x0102_0304,
                number: 9,
                kind,
            };
            assert_eq!(Cell::decode(&cell.encode()), cell);
        }
    }
}
