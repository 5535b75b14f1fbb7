//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod buildroot;
pub mod event;
pub mod record;
