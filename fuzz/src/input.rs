//! The fuzzer's octets, read as a script: numbers and strings of octets. At the end come zeros.

/// A cursor over the input.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Input<'a> {
        Input { rest: data }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// One of `choices`, by an octet.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    /// At most `n` octets.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }
}

/// The octet at a position of a stream, so that any octet out of place shows.
pub fn octet(stream: u32, position: u32) -> u8 {
    (position
        .wrapping_add(stream << 20)
        .wrapping_mul(0x9e37_79b1)
        >> 24) as u8
}

/// `n` octets of a stream from `position` on.
pub fn octets(stream: u32, position: u32, n: usize) -> Vec<u8> {
    (0..n as u32)
        .map(|i| octet(stream, position.wrapping_add(i)))
        .collect()
}

/// Checks that `data` stands in a stream at `position`.
#[track_caller]
pub fn compare(stream: u32, position: u32, data: &[u8]) {
    let wrong = (0u32..)
        .zip(data)
        .find(|&(i, &got)| got != octet(stream, position.wrapping_add(i)));
    if let Some((i, got)) = wrong {
        panic!(
            "stream {stream}: octet {} is {got}",
            position.wrapping_add(i)
        );
    }
}
