//! Evidence about releases, read and judged: nothing here builds.

pub mod inputs;
