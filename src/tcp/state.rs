//! The states of a connection (RFC 9293 section 3.3.2).

/// Where a connection is. There is no LISTEN: the connection below listens for all circuits. Numbers are part of the C
/// ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// A SYN is to be, or was, sent.
    SynSent = 1,
    /// A SYN came in, and ours is not acknowledged yet.
    SynReceived = 2,
    /// Data flows both ways.
    Established = 3,
    /// Our FIN is sent.
    FinWait1 = 4,
    /// Our FIN is acknowledged.
    FinWait2 = 5,
    /// The peer's FIN came in.
    CloseWait = 6,
    /// Both FINs are sent, ours is not acknowledged yet.
    Closing = 7,
    /// The peer's FIN came first, ours is sent.
    LastAck = 8,
    /// Both directions are finished; the peer's FIN may come again.
    TimeWait = 9,
    /// Ended.
    Closed = 10,
}

impl State {
    /// Both SYNs are exchanged.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived | State::Closed)
    }

    /// New data may still be sent.
    pub fn may_send(self) -> bool {
        matches!(
            self,
            State::SynReceived | State::Established | State::CloseWait
        )
    }

    /// Data may still arrive.
    pub fn may_receive(self) -> bool {
        matches!(
            self,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2
        )
    }
}
