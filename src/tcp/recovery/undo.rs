//! Undo (RFC 2883, RFC 3708): a reduction of the window is taken back when the peer reports that every segment sent again
//! since had arrived before.

use crate::tcp::seq::Seq;

/// What was sent again since the window was last reduced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Undo {
    /// The range of sequence numbers that the reduction was about; none when there is nothing to take back.
    range: Option<(Seq, Seq)>,
    /// Segments sent again and not reported as duplicates.
    pending: u32,
    /// Round trips since recovery was over.
    rounds: u8,
}

impl Undo {
    /// The window was reduced while `snd_una..snd_nxt` was outstanding.
    pub fn on_reduction(&mut self, snd_una: Seq, snd_nxt: Seq) {
        *self = Undo {
            range: Some((snd_una, snd_nxt)),
            ..Undo::default()
        };
    }

    /// A segment was sent again.
    pub fn on_retransmission(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    /// Whether `block` is of what the reduction was about.
    pub fn covers(&self, block: (Seq, Seq)) -> bool {
        self.range
            .is_some_and(|(start, end)| start <= block.0 && block.1 <= end)
    }

    /// A round trip has passed since recovery was over. Reports that are still under way come with the next one; whether
    /// it is too late now.
    pub fn on_round(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        if self.range.is_some() && self.rounds > 2 {
            self.clear();
            return true;
        }
        false
    }

    /// `segments` within `block` have arrived twice; whether the reduction should be taken back now.
    pub fn on_duplicate(&mut self, block: (Seq, Seq), segments: u32) -> bool {
        if self.pending == 0 || !self.covers(block) {
            return false;
        }
        self.pending = self.pending.saturating_sub(segments);
        self.pending == 0
    }

    /// There is nothing to take back any more.
    pub fn clear(&mut self) {
        self.range = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_all_were_duplicates() {
        let mut undo = Undo::default();
        undo.on_reduction(Seq(0), Seq(100));
        undo.on_retransmission();
        undo.on_retransmission();
        assert!(!undo.on_duplicate((Seq(0), Seq(10)), 1));
        assert!(undo.on_duplicate((Seq(50), Seq(60)), 1));
        undo.clear();
        assert!(!undo.on_duplicate((Seq(50), Seq(60)), 1));
    }

    #[test]
    fn what_the_network_doubled_elsewhere_does_not_count() {
        let mut undo = Undo::default();
        undo.on_reduction(Seq(100), Seq(200));
        undo.on_retransmission();
        assert!(!undo.on_duplicate((Seq(0), Seq(10)), 1));
        assert!(!undo.on_duplicate((Seq(190), Seq(210)), 1));
    }
}
