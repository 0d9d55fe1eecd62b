//! Limits that several programs apply to the same value.

/// Maximum characters of a video's title.
pub const TITLE_CHARS_MAX: usize = 200;

/// Maximum characters of a video's description.
pub const DESCRIPTION_CHARS_MAX: usize = 5000;

/// Characters of a client's file name that are kept.
pub const FILENAME_CHARS_MAX: usize = 255;

/// Maximum items of a page of a list.
pub const PAGE_SIZE_MAX: u32 = 100;

/// Maximum uses of tokens that a data plane reports in one call.
pub const TOKEN_USES_MAX: usize = 1000;
