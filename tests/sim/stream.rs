//! The octets that circuits carry: every octet depends on its circuit, its direction and its position, so that one
//! that is lost, repeated, moved or taken from elsewhere is noticed.

use super::rng::mix;

/// The contents of one direction of one circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
    /// What the first eight octets are instead.
    header: Option<u64>,
}

/// Octets of the header by which the accepting side recognizes the circuit.
pub const HEADER: usize = 8;

impl Stream {
    pub fn new(key: u64, header: Option<u64>) -> Stream {
        Stream { key, header }
    }

    fn block(&self, index: u64) -> [u8; 8] {
        match self.header {
            Some(header) if index == 0 => header.to_le_bytes(),
            _ => mix(self.key ^ mix(index)).to_le_bytes(),
        }
    }

    /// Writes the octets from `position` on.
    pub fn fill(&self, position: u64, buffer: &mut [u8]) {
        let mut at = position;
        let mut rest = buffer;
        while !rest.is_empty() {
            let block = self.block(at / 8);
            let skip = (at % 8) as usize;
            let n = rest.len().min(8 - skip);
            rest[..n].copy_from_slice(&block[skip..skip + n]);
            rest = &mut rest[n..];
            at += n as u64;
        }
    }

    /// The position of the first octet that differs.
    pub fn differs(&self, position: u64, data: &[u8]) -> Option<u64> {
        let mut expected = vec![0; data.len()];
        self.fill(position, &mut expected);
        let index = expected.iter().zip(data).position(|(a, b)| a != b)?;
        Some(position + index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_do_not_depend_on_how_they_are_cut() {
        let stream = Stream::new(7, Some(0x0102_0304_0506_0708));
        let mut whole = [0; 100];
        stream.fill(0, &mut whole);
        for start in 0..100 {
            for end in start..100 {
                let mut part = vec![0; end - start];
                stream.fill(start as u64, &mut part);
                assert_eq!(part, whole[start..end]);
            }
        }
        assert_eq!(whole[..2], [8, 7]);
    }

    #[test]
    fn a_changed_shifted_or_foreign_octet_is_found() {
        let stream = Stream::new(1, None);
        let mut data = [0; 64];
        stream.fill(1000, &mut data);
        assert_eq!(stream.differs(1000, &data), None);
        assert!(stream.differs(1001, &data).is_some());
        assert!(Stream::new(2, None).differs(1000, &data).is_some());
        data[40] ^= 1;
        assert_eq!(stream.differs(1000, &data), Some(1040));
    }
}
