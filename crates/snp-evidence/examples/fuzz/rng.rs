//! `SplitMix64`: a run is repeated by its seed.

pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `bound`, or 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap() % bound.max(1)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Bytes that parsers stumble over, and others.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        match self.below(5) {
            0 => bytes.fill(0),
            1 => bytes.fill(0xFF),
            2 => bytes.reverse(),
            3 => bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1)),
            _ => bytes.iter_mut().for_each(|byte| *byte = self.byte()),
        }
    }

    /// A few bits here and there.
    pub(crate) fn flip(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(3) {
            if !bytes.is_empty() {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
        }
    }

    /// A piece cut out, doubled or put in.
    pub(crate) fn resize(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(64)).min(bytes.len());
        match self.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.truncate(at),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at, self.byte()),
        }
    }
}
