//! What arrived in order stays where it was decrypted until the relay reads it, which is soon: so it is copied once, to the
//! relay. What is not read by the time that the room is needed moves into blocks. Those are counted from the start.

/// Datagrams of which data can stay: as many as a socket delivers together. No more, since all of them should be in the
/// processor's cache when they are read.
const SLOTS: usize = 64;

/// No piece.
const NONE: u32 = u32::MAX;

/// Part of a datagram's plaintext, and the circuit's next one.
#[derive(Clone, Copy, Debug)]
struct Piece {
    slot: u32,
    start: u32,
    end: u32,
    next: u32,
}

/// The pieces of a circuit, in order.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    first: u32,
    last: u32,
    octets: u32,
}

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces {
            first: NONE,
            last: NONE,
            octets: 0,
        }
    }
}

impl Pieces {
    /// Octets in all of them.
    pub fn octets(&self) -> usize {
        self.octets as usize
    }
}

/// The plaintexts of the latest datagrams.
#[derive(Default)]
pub struct Arrivals {
    slots: Vec<Vec<u8>>,
    /// From the front, those that hold data.
    used: usize,
    pieces: Vec<Piece>,
    /// How many of them were not read yet.
    live: usize,
    /// The datagram at hand has some.
    kept: bool,
    /// Connection and circuit of each list of pieces that was begun; some of them were read since.
    owners: Vec<(u32, u32)>,
}

impl Arrivals {
    /// What a datagram is decrypted to, to be given back with [`Arrivals::end`], and whether its data can stay there.
    pub fn begin(&mut self) -> (Vec<u8>, bool) {
        if self.live == 0 {
            self.used = 0;
            self.pieces.clear();
            self.owners.clear();
        }
        self.kept = false;
        if self.used == self.slots.len() {
            self.slots.push(Vec::new());
        }
        let mut plain = std::mem::take(&mut self.slots[self.used]);
        plain.clear();
        (plain, self.used < SLOTS)
    }

    /// The datagram was looked at.
    pub fn end(&mut self, plain: Vec<u8>) {
        self.slots[self.used] = plain;
        self.used += usize::from(self.kept);
    }

    /// Whether no more data can stay.
    pub fn is_full(&self) -> bool {
        self.used == SLOTS && self.live > 0
    }

    /// The circuit has begun a list of pieces.
    pub fn owned_by(&mut self, connection: u32, wire: u32) {
        self.owners.push((connection, wire));
    }

    /// Connections and circuits that may have pieces: each is to move them into blocks.
    pub fn take_owners(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.owners)
    }

    /// They have: the list is used again.
    pub fn give_owners(&mut self, mut owners: Vec<(u32, u32)>) {
        debug_assert_eq!(self.live, 0, "pieces without an owner");
        owners.clear();
        self.owners = owners;
    }

    /// Appends `data`, part of `plain`, which is what the datagram at hand was decrypted to. Returns false, and changes
    /// nothing, if it is not.
    pub fn push(&mut self, pieces: &mut Pieces, plain: &[u8], data: &[u8]) -> bool {
        let Some(start) = data.as_ptr().addr().checked_sub(plain.as_ptr().addr()) else {
            return false;
        };
        if start + data.len() > plain.len() || data.is_empty() {
            return false;
        }
        let at = self.pieces.len() as u32;
        self.pieces.push(Piece {
            slot: self.used as u32,
            start: start as u32,
            end: (start + data.len()) as u32,
            next: NONE,
        });
        match self.pieces.get_mut(pieces.last as usize) {
            Some(last) if pieces.first != NONE => last.next = at,
            _ => pieces.first = at,
        }
        pieces.last = at;
        pieces.octets += data.len() as u32;
        self.live += 1;
        self.kept = true;
        true
    }

    /// Takes octets off the front: appends no more than `most` of them to what `sink` has, at least one if there are any;
    /// returns how many. `plain` as for [`Arrivals::push`], if a datagram is at hand.
    pub fn pull(
        &mut self,
        pieces: &mut Pieces,
        plain: Option<&[u8]>,
        most: usize,
        sink: impl FnOnce(&[u8]),
    ) -> usize {
        let Some(piece) = self.pieces.get_mut(pieces.first as usize) else {
            return 0;
        };
        let n = most.min((piece.end - piece.start) as usize);
        let slot = piece.slot as usize;
        let from = piece.start as usize;
        let whole = match plain {
            Some(plain) if slot == self.used => plain,
            _ => self.slots.get(slot).map_or(&[][..], Vec::as_slice),
        };
        sink(whole.get(from..from + n).unwrap_or(&[]));
        piece.start += n as u32;
        pieces.octets -= n as u32;
        if piece.start == piece.end {
            pieces.first = piece.next;
            self.live -= 1;
        }
        n
    }

    /// Forgets what is left of them.
    pub fn drop_all(&mut self, pieces: &mut Pieces) {
        while let Some(piece) = self.pieces.get(pieces.first as usize) {
            pieces.first = piece.next;
            self.live -= 1;
        }
        *pieces = Pieces::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes in a datagram, all of which stays.
    fn arrive(arrivals: &mut Arrivals, pieces: &mut Pieces, data: &[u8]) -> bool {
        let (mut plain, stays) = arrivals.begin();
        plain.extend_from_slice(data);
        if stays {
            assert!(arrivals.push(pieces, &plain, &plain[1..]));
        }
        arrivals.end(plain);
        stays
    }

    fn pull(arrivals: &mut Arrivals, pieces: &mut Pieces, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        arrivals.pull(pieces, None, most, |data| out.extend_from_slice(data));
        out
    }

    #[test]
    fn pieces_come_out_in_order_and_by_parts() {
        let mut arrivals = Arrivals::default();
        let (mut a, mut b) = (Pieces::default(), Pieces::default());
        assert!(arrive(&mut arrivals, &mut a, b".one"));
        assert!(arrive(&mut arrivals, &mut b, b".other"));
        assert!(arrive(&mut arrivals, &mut a, b".two"));
        assert_eq!((a.octets(), b.octets()), (6, 5));
        assert_eq!(pull(&mut arrivals, &mut a, 2), b"on");
        assert_eq!(pull(&mut arrivals, &mut a, 9), b"e");
        assert_eq!(pull(&mut arrivals, &mut b, 9), b"other");
        assert_eq!(pull(&mut arrivals, &mut a, 9), b"two");
        assert_eq!(pull(&mut arrivals, &mut a, 9), b"");
        assert_eq!((a.octets(), b.octets(), arrivals.live), (0, 0, 0));
    }

    #[test]
    fn room_is_free_again_when_all_of_it_was_read() {
        let mut arrivals = Arrivals::default();
        let mut pieces = Pieces::default();
        for _ in 0..SLOTS {
            assert!(!arrivals.is_full());
            assert!(arrive(&mut arrivals, &mut pieces, b".data"));
        }
        assert!(arrivals.is_full());
        assert!(!arrive(&mut arrivals, &mut pieces, b".more"));
        while !pull(&mut arrivals, &mut pieces, 3).is_empty() {}
        assert!(!arrivals.is_full());
        assert!(arrive(&mut arrivals, &mut pieces, b".more"));
        arrivals.drop_all(&mut pieces);
        assert_eq!((pieces.octets(), arrivals.live), (0, 0));
        assert!(arrive(&mut arrivals, &mut pieces, b".more"));
        assert_eq!(arrivals.pieces.len(), 1);
    }

    #[test]
    fn what_is_not_part_of_the_datagram_cannot_stay() {
        let mut arrivals = Arrivals::default();
        let mut pieces = Pieces::default();
        let (plain, _) = arrivals.begin();
        assert!(!arrivals.push(&mut pieces, &plain, b"elsewhere"));
        arrivals.end(plain);
        assert_eq!(pieces.octets(), 0);
    }
}
