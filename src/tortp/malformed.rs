//! Why a datagram is dropped.

use std::fmt;

/// What is wrong with a datagram. It is dropped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The version is not one that this implementation knows.
    Version,
    /// There is no segment in it.
    Empty,
    /// What is left is shorter than the header that its flags ask for. Stray octets after the last segment
    /// end up here too.
    Header,
    /// Options or payload are longer than what is left.
    Truncated,
    /// More than 10 words of options.
    OptionsLength,
    /// An option's length octet is missing, is 0 or 1, or reaches beyond the options.
    OptionEncoding,
    /// An option of a kind that has a fixed form has another length.
    OptionLength,
}

impl Malformed {
    /// Every reason, for tables and tests.
    pub const ALL: [Malformed; 7] = [
        Malformed::Version,
        Malformed::Empty,
        Malformed::Header,
        Malformed::Truncated,
        Malformed::OptionsLength,
        Malformed::OptionEncoding,
        Malformed::OptionLength,
    ];

    /// A fixed name, as in docs/tortp.md.
    pub fn name(self) -> &'static str {
        match self {
            Malformed::Version => "version",
            Malformed::Empty => "empty",
            Malformed::Header => "header",
            Malformed::Truncated => "truncated",
            Malformed::OptionsLength => "options-length",
            Malformed::OptionEncoding => "option-encoding",
            Malformed::OptionLength => "option-length",
        }
    }

    /// A fixed English sentence.
    pub fn text(self) -> &'static str {
        match self {
            Malformed::Version => "unknown TORTP version",
            Malformed::Empty => "no segment in the datagram",
            Malformed::Header => "the datagram ends inside a segment header",
            Malformed::Truncated => "the datagram ends inside options or payload",
            Malformed::OptionsLength => "more than 40 octets of TCP options",
            Malformed::OptionEncoding => {
                "a TCP option's length is missing, below 2, or beyond the end"
            }
            Malformed::OptionLength => "a TCP option of a known kind has a wrong length",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Malformed {}
