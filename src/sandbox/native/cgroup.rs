//! Limits by a control group, where one can be had.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A control group made for one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Its folders: one in version 2, one per controller in version 1.
    pub folders: Vec<PathBuf>,
}
