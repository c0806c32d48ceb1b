//! What travels: cells of 514 octets, as in Tor since 2013, which begin with the number of their circuit.

use super::clock::Micros;

/// Octets of a cell.
pub const CELL: usize = 514;

/// Octets at the beginning of a cell that mean something; a filler follows.
const USED: usize = 4 + 1 + 4 + 8 + 8 + 8;

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// From the client: to be sent back.
    Ask = 1,
    /// From the server: it is back.
    Answer = 2,
    /// From the client: as much as possible, please, for so many microseconds (`value`).
    Flood = 3,
    /// From the server: part of it.
    Data = 4,
    /// From the client: so many octets of cells, please (`value`).
    Request = 5,
    /// From the server: part of them.
    Part = 6,
}

impl Command {
    fn from(octet: u8) -> Option<Command> {
        use Command::{Answer, Ask, Data, Flood, Part, Request};
        [Ask, Answer, Flood, Data, Request, Part]
            .into_iter()
            .find(|command| *command as u8 == octet)
    }
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Of which circuit.
    pub circuit: u32,
    /// What for.
    pub command: Command,
    /// The how-manieth of its circuit and direction, from 0.
    pub number: u32,
    /// When the client had it to send; an answer has that of the question.
    pub asked: Micros,
    /// When the server had it to send.
    pub sent: Micros,
    /// See the command.
    pub value: u64,
}

/// What is wrong with what has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged(pub String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

impl Cell {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + CELL;
        out.extend_from_slice(&self.circuit.to_be_bytes());
        out.push(self.command as u8);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.asked.to_be_bytes());
        out.extend_from_slice(&self.sent.to_be_bytes());
        out.extend_from_slice(&self.value.to_be_bytes());
        out.resize(end, self.filler());
    }

    fn filler(&self) -> u8 {
        (self.circuit as u8).wrapping_mul(31) ^ self.number as u8
    }

    /// Reads one.
    ///
    /// # Errors
    /// If this is no cell.
    pub fn decode(octets: &[u8; CELL]) -> Result<Cell, Damaged> {
        let word = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("4 octets"));
        let long = |at: usize| u64::from_be_bytes(octets[at..at + 8].try_into().expect("8 octets"));
        let command =
            Command::from(octets[4]).ok_or_else(|| Damaged(format!("command {}", octets[4])))?;
        let cell = Cell {
            circuit: word(0),
            command,
            number: word(5),
            asked: long(9),
            sent: long(17),
            value: long(25),
        };
        // The ends of the filler tell whether octets are missing or came twice.
        if octets[USED] != cell.filler() || octets[CELL - 1] != cell.filler() {
            return Err(Damaged(format!(
                "filler of cell {} of circuit {}",
                cell.number, cell.circuit
            )));
        }
        Ok(cell)
    }
}

/// The number of the circuit that a cell, or its first octets, belongs to.
pub fn circuit_of(octets: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(octets.get(..4)?.try_into().ok()?))
}

/// One direction of one circuit: octets in order to cells, checked to be the right ones.
#[derive(Debug, Default)]
pub struct Assembler {
    part: Vec<u8>,
    next: u32,
}

impl Assembler {
    /// More octets have come.
    ///
    /// # Errors
    /// If they are not the cells of this circuit in their order.
    pub fn push(
        &mut self,
        circuit: u32,
        mut data: &[u8],
        to: &mut dyn FnMut(Cell),
    ) -> Result<(), Damaged> {
        while !data.is_empty() {
            let taken = (CELL - self.part.len()).min(data.len());
            self.part.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            let Ok(octets) = <&[u8; CELL]>::try_from(self.part.as_slice()) else {
                return Ok(());
            };
            let cell = Cell::decode(octets)?;
            self.part.clear();
            if cell.circuit != circuit || cell.number != self.next {
                let Cell {
                    circuit: of,
                    number,
                    ..
                } = cell;
                let next = self.next;
                return Err(Damaged(format!(
                    "cell {number} of circuit {of} where {next} of {circuit} is due"
                )));
            }
            self.next = self.next.wrapping_add(1);
            to(cell);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(number: u32) -> Cell {
        Cell {
            circuit: 7,
            command: Command::Data,
            number,
            asked: 1,
            sent: 2,
            value: u64::MAX,
        }
    }

    fn octets(numbers: &[u32]) -> Vec<u8> {
        let mut octets = Vec::new();
        numbers
            .iter()
            .for_each(|&number| cell(number).encode(&mut octets));
        octets
    }

    fn pushed(octets: &[u8], step: usize) -> Result<Vec<Cell>, Damaged> {
        let (mut assembler, mut cells) = (Assembler::default(), Vec::new());
        for part in octets.chunks(step) {
            assembler.push(7, part, &mut |cell| cells.push(cell))?;
        }
        Ok(cells)
    }

    #[test]
    fn cells_come_out_however_they_were_cut() {
        let octets = octets(&[0, 1, 2]);
        assert_eq!(octets.len(), 3 * CELL);
        for step in [1, 100, CELL, 2_000] {
            assert_eq!(pushed(&octets, step), Ok(vec![cell(0), cell(1), cell(2)]));
        }
    }

    #[test]
    fn what_is_missing_twice_or_damaged_is_found() {
        assert!(pushed(&octets(&[0, 2]), CELL).is_err());
        assert!(pushed(&octets(&[0, 0]), CELL).is_err());
        let mut short = octets(&[0, 1]);
        short.remove(300);
        short.push(0);
        assert!(pushed(&short, CELL).is_err());
        let mut other = octets(&[0]);
        other[3] = 8;
        assert!(pushed(&other, CELL).is_err());
    }
}
