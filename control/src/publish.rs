//! Publishing: from the output that a worker offers to the index that data planes serve.

pub mod admission;
pub mod captions;
pub mod excerpt;
pub mod finalize;
pub mod index;
pub mod sample_tables;
