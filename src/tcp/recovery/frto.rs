//! Spurious retransmission timeouts (F-RTO, RFC 5682, with SACK; RFC 4015 for the response): after a timeout only the
//! first segment is sent again, then new data, until it is known whether the others were lost or only late.

/// How far the detection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frto {
    /// The first segment was sent again (step 1).
    FirstResent,
    /// It was acknowledged; new data goes out instead of what was held to be lost (step 2b).
    NewData,
}

/// What an acknowledgement after the timeout says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Still open: send new data.
    Open,
    /// Still open, and nothing has become known.
    Wait,
    /// Segments that were not sent again have arrived: nothing was lost.
    Spurious,
    /// Something was lost.
    Genuine,
}

impl Frto {
    /// `advanced`: SND.UNA moved. `revived`: a segment held to be lost and not sent again was delivered. `early`: the
    /// acknowledgement came sooner after a retransmission than any round trip takes, so it is for the original.
    /// `selective`: something arrived behind a hole.
    pub fn on_ack(
        &mut self,
        advanced: bool,
        revived: bool,
        early: bool,
        selective: bool,
    ) -> Verdict {
        match self {
            Frto::FirstResent if advanced && (revived || early) => Verdict::Spurious,
            Frto::FirstResent if advanced => {
                *self = Frto::NewData;
                Verdict::Open
            }
            Frto::NewData if revived => Verdict::Spurious,
            // A segment that a tail loss probe had sent again too, original or not.
            Frto::NewData if advanced && !selective => Verdict::Wait,
            _ => Verdict::Genuine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_originals_show_that_nothing_was_lost() {
        let mut frto = Frto::FirstResent;
        assert_eq!(frto.on_ack(true, true, false, false), Verdict::Spurious);
        let mut frto = Frto::FirstResent;
        assert_eq!(frto.on_ack(true, false, true, false), Verdict::Spurious);
        let mut frto = Frto::FirstResent;
        assert_eq!(frto.on_ack(true, false, false, false), Verdict::Open);
        assert_eq!(frto.on_ack(true, false, false, false), Verdict::Wait);
        assert_eq!(frto.on_ack(true, true, false, false), Verdict::Spurious);
    }

    #[test]
    fn duplicate_acknowledgements_show_a_loss() {
        let mut frto = Frto::FirstResent;
        assert_eq!(frto.on_ack(false, true, false, true), Verdict::Genuine);
        for advanced in [false, true] {
            let mut frto = Frto::NewData;
            assert_eq!(frto.on_ack(advanced, false, false, true), Verdict::Genuine);
        }
    }
}
