//! Keeping what a failed build leaves, so that somebody can go in.

use std::fs;

use super::event::Kept;
use super::package::Job;
use super::request::{Folders, INPUTS, WORK, folder};
use crate::base::{ActionId, HostPath};
use crate::sandbox::{Keep, Keeping, Request};
use crate::store::{CapsuleLimits, Contents, Scratch};

/// How many files and folders a capsule may have.
const FILES: u64 = 2_000_000;

/// Below the temporary folder of a build: what becomes its capsule.
const CAPSULE: &str = "capsule";

/// Where scratch is to be kept, below the temporary folder of a build; none if nothing is to be.
pub fn place(scratch: &Scratch, limits: &CapsuleLimits) -> std::io::Result<Option<Keep>> {
    if limits.bytes == 0 {
        return Ok(None);
    }
    let to = scratch.path().join(CAPSULE).join("scratch");
    fs::create_dir_all(&to)?;
    // One must leave room for others: none is to push all of them out.
    Ok(Some(Keep { to, bytes: limits.bytes / 2, files: FILES }))
}

/// Makes a capsule of what was kept, and makes room for it: the oldest go first.
pub fn keep(
    job: &Job<'_>,
    action: ActionId,
    attempt: i64,
    scratch: &Scratch,
    folders: &Folders,
    request: &Request,
    keeping: &Keeping,
) -> Kept {
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let bytes = match keeping {
        Keeping::Kept { bytes, .. } => *bytes,
        Keeping::CalledOff => return Kept::Nothing,
        Keeping::Failed(why) => return Kept::Not(why.clone()),
        Keeping::TooLarge => {
            let most = request.keep.as_ref().map_or(0, |keep| keep.bytes);
            return Kept::Not(format!(
                "it has more than {}, half of what capsules may take (`[capsules] size` of the \
                 user's config.toml)",
                mebibytes(most)
            ));
        }
    };
    let name = |layer: &HostPath| {
        layer.as_path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let contents = Contents {
        package: job.package.name.to_string(),
        version: job.package.version.clone(),
        derivation: job.node.id.to_string(),
        action: action.to_string(),
        layers: folders.layers.iter().map(name).collect(),
        argv: request.argv.clone(),
        env: request.env.clone(),
        cwd: request.cwd.to_string(),
        sources: format!("{WORK}/{}", folder(job.package)),
        inputs: INPUTS.to_owned(),
        made: jiff::Timestamp::now().as_second(),
        bytes,
    };
    let store = job.world.store;
    let capsule = scratch.path().join(CAPSULE);
    let kept =
        store.limit_capsules(&job.world.capsules, bytes, jiff::Timestamp::now()).and_then(
            |removed| {
                let inputs = capsule.join("inputs");
                fs::rename(&folders.inputs, &inputs).map_err(|source| {
                    crate::store::Error::System { operation: "keep", path: inputs.clone(), source }
                })?;
                store.keep_capsule(attempt, &contents, &capsule).map(|()| removed)
            },
        );
    match kept {
        Ok(removed) => Kept::Capsule { removed: removed.iter().map(told).collect() },
        Err(error) => Kept::Not(error.to_string()),
    }
}

/// A capsule that was removed, as it is told.
fn told(capsule: &crate::store::Capsule) -> String {
    let Contents { package, version, made, .. } = &capsule.contents;
    let day = jiff::Timestamp::from_second(*made).unwrap_or_default();
    format!("{package} {version} of {}", day.strftime("%Y-%m-%d"))
}
