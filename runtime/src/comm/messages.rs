//! Messages: one per rank, in one piece of memory.

use half::bf16;

/// Words of 32 bits, a message per rank one after the other. An id is two words, the lower half
/// first; a float is the word of its bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// All messages.
    pub words: Vec<u32>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

impl Messages {
    /// No message; keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
        self.ends.clear();
    }

    /// Messages.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Ends the message whose words were appended to [`Messages::words`] since the last one.
    pub fn end_message(&mut self) {
        self.ends.push(self.words.len());
    }

    /// Adds a whole message.
    pub fn push(&mut self, message: &[u32]) {
        self.words.extend_from_slice(message);
        self.end_message();
    }

    /// Where the message of, or for, a rank lies.
    pub fn range(&self, rank: usize) -> std::ops::Range<usize> {
        let begin = rank.checked_sub(1).map_or(0, |before| self.ends[before]);
        begin..self.ends[rank]
    }

    /// The message of, or for, a rank.
    pub fn get(&self, rank: usize) -> &[u32] {
        &self.words[self.range(rank)]
    }

    /// All messages, by rank.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.count()).map(|rank| self.get(rank))
    }
}

/// Appends an id.
pub fn push_id(words: &mut Vec<u32>, id: u64) {
    words.extend([id as u32, (id >> 32) as u32]);
}

/// Ids as [`push_id`] appended them.
pub fn ids(words: &[u32]) -> impl ExactSizeIterator<Item = u64> {
    words.as_chunks::<2>().0.iter().map(|&[low, high]| u64::from(high) << 32 | u64::from(low))
}

/// Floats as words.
pub fn floats_as_words(floats: &[f32]) -> &[u32] {
    // SAFETY: both types have four bytes, the same alignment, and no invalid values.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len()) }
}

/// Two numbers in BF16 for each word.
pub fn words_as_bf16(words: &[u32]) -> &[bf16] {
    // SAFETY: a word has the bytes of two numbers and is more aligned; no bits are invalid.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) }
}

/// The same, to write.
pub fn words_as_bf16_mut(words: &mut [u32]) -> &mut [bf16] {
    // SAFETY: a word has the bytes of two numbers and is more aligned; no bits are invalid.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

/// Words as floats.
pub fn words_as_floats(words: &[u32]) -> &[f32] {
    // SAFETY: both types have four bytes, the same alignment, and no invalid values.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}
