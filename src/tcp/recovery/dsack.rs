//! Duplicate SACK (RFC 2883): the first block of an acknowledgement may say what has arrived twice.

use crate::tcp::segment::SackBlocks;
use crate::tcp::seq::Seq;

/// Takes a report of a duplicate out of the blocks of an acknowledgement of everything below `ack` (section 4): the
/// first block, if it lies below `ack` or within the second.
pub fn take(blocks: &mut SackBlocks, ack: Seq) -> Option<(Seq, Seq)> {
    let &(start, end) = blocks.as_slice().first()?;
    let within = |&(s, e): &(Seq, Seq)| s <= start && end <= e;
    if start < end && (end <= ack || blocks.as_slice().get(1).is_some_and(within)) {
        blocks.remove_first();
        return Some((start, end));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(of: &[(u32, u32)]) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for &(start, end) in of {
            blocks.push(Seq(start), Seq(end));
        }
        blocks
    }

    #[test]
    fn a_block_below_the_acknowledgement_is_a_report() {
        let mut sack = blocks(&[(3_000, 3_500), (4_500, 5_000)]);
        assert_eq!(take(&mut sack, Seq(4_000)), Some((Seq(3_000), Seq(3_500))));
        assert_eq!(sack.as_slice(), [(Seq(4_500), Seq(5_000))]);
    }

    #[test]
    fn a_block_within_the_second_is_a_report() {
        let mut sack = blocks(&[(5_000, 5_500), (4_500, 6_000)]);
        assert_eq!(take(&mut sack, Seq(4_000)), Some((Seq(5_000), Seq(5_500))));
    }

    #[test]
    fn ordinary_blocks_are_none() {
        for of in [
            &[][..],
            &[(4_500, 5_000)],
            &[(5_500, 6_000), (4_500, 5_000)],
            &[(5_000, 4_000)],
        ] {
            let mut sack = blocks(of);
            assert_eq!(take(&mut sack, Seq(4_000)), None);
            assert_eq!(sack, blocks(of));
        }
    }
}
