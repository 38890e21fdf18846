//! Where a leaf came from.

/// What made a leaf: the rule's number, and where its source begins in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    pub rule: u32,
    pub source: Mark,
}

/// A place in the message's text with how finely it was split there, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u32);

impl Mark {
    /// MAX_MESSAGE_BYTES is 2^26: the offset leaves six bits for the level.
    const LEVEL_SHIFT: u32 = 28;

    pub fn new(offset: u32, level: u8) -> Self {
        Self(offset | u32::from(level) << Self::LEVEL_SHIFT)
    }

    pub fn offset(self) -> u32 {
        self.0 & ((1 << Self::LEVEL_SHIFT) - 1)
    }

    pub(super) fn from_word(word: u32) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u32 {
        self.0
    }

    /// 0: the segment, 1: the field's repetition, 2: the component, 3: the subcomponent.
    pub fn level(self) -> u8 {
        (self.0 >> Self::LEVEL_SHIFT) as u8
    }
}

/// Where a text that was cut out of another begins in it.
pub(crate) fn offset_in(whole: &str, part: &str) -> Option<u32> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + part.len() <= whole.len()).then_some(offset as u32)
}
