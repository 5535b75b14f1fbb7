//! Making a plan true.
