//! Evidence about what was built: held against another build, an archive, and the release itself.

pub mod attribution;
pub mod difference;
pub mod reproduction;
