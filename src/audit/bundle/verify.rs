//! Reading a bundle through, without a store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use super::Seen;
use super::error::{Error, Result};
use super::read::Bundle;
use super::structure::{Structure, structure};

/// A bundle of which every byte is as it has to be.
#[derive(Debug)]
pub struct Verified {
    /// What it states.
    pub structure: Structure,
    /// How many members were read.
    pub members: usize,
    /// Bytes of them, unpacked.
    pub unpacked: u64,
}

/// Reads every member, and holds all of them against one another.
///
/// # Errors
/// Something that is not as it has to be.
pub fn verify(bundle: &Bundle, seen: Seen<'_>, cancel: &AtomicBool) -> Result<Verified> {
    let unpacked = bundle.index.size();
    let done = AtomicU64::new(0);
    bundle.index.members.par_iter().try_for_each(|member| {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        bundle.check(member)?;
        seen(done.fetch_add(member.size, Ordering::Relaxed) + member.size, unpacked);
        Ok(())
    })?;
    let structure = structure(bundle, &|_| Ok(None))?;
    Ok(Verified { structure, members: bundle.index.members.len(), unpacked })
}
