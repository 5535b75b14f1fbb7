//! Making a plan true: fetching, assembling build roots, building, recording.
