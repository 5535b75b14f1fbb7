//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod event;
pub mod record;
