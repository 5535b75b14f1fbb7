//! Layers on an engine that does not share our files: each is a volume, filled once.
//!
//! Two volumes stand for a layer. One has a name of its own and holds the tree, in a folder:
//! an engine that lost the volume makes an empty one of the same name, which then is no layer.
//! The other is named by the tree's digest, holds nothing, and says in a label which one that
//! is. It is made when the tree is there in full and on disk, so what it points to is whole.
//! Whoever looks and makes a container holds a lock together with others; whoever fills or
//! removes holds it alone.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};

use super::engine::{Engine, Met};
use super::marks::{self, Marks, Shared};
use super::places::Places;
use super::site::Site;
use super::tend::Deed;
use crate::base::Digest;
use crate::sandbox::{Error, Result, parcel};

/// Below the root of a volume, which belongs to root: the tree.
pub const TREE: &str = "tree";

/// Where a volume is mounted to be filled.
const FILLED: &str = "/layer";

/// How often layers that vanish are filled again.
const TRIES: usize = 3;

/// The volumes of these trees, in their order, filled where they were not. They stay as long as
/// the lock that comes along is held, or a container has them.
pub fn stored(
    site: &Site<'_>,
    trees: &[PathBuf],
    cancel: &AtomicBool,
) -> Result<(Vec<String>, File)> {
    let marks = site.docker.marks()?;
    let (uid, _) = super::container::ids(&site.met.facts);
    let mut wanted = Vec::new();
    for tree in trees {
        let digest = parcel::digest(tree).map_err(|source| Error::System {
            operation: format!("read the layer `{}`", tree.display()),
            source,
        })?;
        wanted.push((marks.layer(&digest, uid), digest, tree));
    }
    for _ in 0..TRIES {
        let shared = lock(site.engine, marks, Shared::WithOthers, cancel)?;
        let known = Known::on(site.engine, site.met, marks)?;
        let names: Option<Vec<_>> = wanted.iter().map(|(name, ..)| known.holder(name)).collect();
        if let Some(names) = names {
            return Ok((names, shared));
        }
        drop(shared);
        let _alone = lock(site.engine, marks, Shared::WithNobody, cancel)?;
        let mut known = Known::on(site.engine, site.met, marks)?;
        for (name, digest, tree) in &wanted {
            if known.holder(name).is_none() {
                fill(site, marks, name, digest, tree, cancel)?;
                known = Known::on(site.engine, site.met, marks)?;
            }
        }
    }
    Err(site.engine.refuses("keep layers in volumes".into(), "they vanish again".into()))
}

/// Removes what killed runs left of volumes on an engine; with `all`, also the layers that are
/// kept for the next run. Returns how many volumes these were. While another run fills layers or
/// looks for them, they all stay.
pub fn sweep(engine: &Engine, met: &Met, marks: &Marks, all: bool, deed: Deed) -> Result<usize> {
    let alone = marks.try_lock(&lock_name(engine), Shared::WithNobody).map_err(locking)?;
    let known = Known::on(engine, met, marks)?;
    let mut removed = 0;
    for volume in known.left(marks, all) {
        if alone.is_some() || !is_layer(&volume.labels) {
            let gone = deed == Deed::Count || remove(engine, met, &volume.name)?;
            removed += usize::from(gone);
        }
    }
    Ok(removed)
}

/// A volume of this run, made with the marks of it; removed when dropped.
pub struct Made<'a> {
    site: Site<'a>,
    name: String,
    kept: bool,
}

impl<'a> Made<'a> {
    /// Makes a volume of this kind.
    pub fn new(site: &Site<'a>, kind: &str) -> Result<Self> {
        let name = marks::random()
            .map_err(|source| Error::System { operation: "name a volume".into(), source })?;
        let name = format!("perestroika-{name}");
        create(site, &name, site.docker.marks()?.labels(kind))?;
        Ok(Self { site: *site, name, kept: false })
    }

    /// What the engine calls it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // One that cannot be removed now is a leftover for the next run.
            let _left = remove(self.site.engine, self.site.met, &self.name);
        }
    }
}

fn fill(
    site: &Site<'_>,
    marks: &Marks,
    name: &str,
    digest: &Digest,
    tree: &Path,
    cancel: &AtomicBool,
) -> Result<()> {
    let operation = || format!("take in the layer `{}`", tree.display());
    let mut volume = Made::new(site, marks::LAYER)?;
    let mut places = Places::default();
    places.volume(volume.name(), FILLED.to_owned(), false);
    let container = site.container(&places)?;
    container.make_folders(FILLED, &[TREE.to_owned()])?;
    let mut stream = container.start()?;
    let failed = |error| site.engine.failed(operation(), &error);
    let brought = stream.bring(tree, &format!("{FILLED}/{TREE}"), cancel).map_err(failed)?;
    if brought != *digest {
        let why = "it was changed by something else while it was sent".to_owned();
        return Err(site.engine.refuses(operation(), why));
    }
    stream.settle(FILLED).map_err(failed)?;
    stream.dismiss();
    container.remove()?;
    // One that points to a volume which is gone.
    remove(site.engine, site.met, name)?;
    let mut labels = marks.labels(marks::LAYER);
    labels.insert(marks::HELD.to_owned(), volume.name().to_owned());
    create(site, name, labels)?;
    volume.kept = true;
    Ok(())
}

fn create(site: &Site<'_>, name: &str, labels: HashMap<String, String>) -> Result<()> {
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..VolumeCreateRequest::default()
    };
    site.engine
        .ask(|| format!("make the volume `{name}`"), site.met.client.create_volume(request))
        .map(drop)
}

/// Removes a volume. False if something has it, or it is not there.
fn remove(engine: &Engine, met: &Met, name: &str) -> Result<bool> {
    let removal = met.client.remove_volume(name, None::<RemoveVolumeOptions>);
    engine.removed(|| format!("remove the volume `{name}`"), removal)
}

/// The lock on the layers of an engine.
fn lock(engine: &Engine, marks: &Marks, shared: Shared, cancel: &AtomicBool) -> Result<File> {
    marks.lock(&lock_name(engine), shared, cancel).map_err(locking)
}

fn lock_name(engine: &Engine) -> String {
    format!("{:.12}", Digest::of(engine.host().address.as_bytes()).to_string())
}

fn locking(source: std::io::Error) -> Error {
    Error::System { operation: "lock the layers of a container engine".into(), source }
}

fn is_layer(labels: &HashMap<String, String>) -> bool {
    labels.get(marks::KIND).is_some_and(|kind| kind == marks::LAYER)
}

/// The volumes of this home on an engine.
struct Known(Vec<Volume>);

impl Known {
    fn on(engine: &Engine, met: &Met, marks: &Marks) -> Result<Self> {
        let options = ListVolumesOptions { filters: Some(marks.ours()) };
        let listed =
            engine.ask(|| "list its volumes".to_owned(), met.client.list_volumes(Some(options)))?;
        Ok(Self(listed.volumes.unwrap_or_default()))
    }

    /// The volume that holds the layer for which this one stands.
    fn holder(&self, name: &str) -> Option<String> {
        let Self(volumes) = self;
        let held = volumes.iter().find(|volume| volume.name == name)?.labels.get(marks::HELD)?;
        volumes.iter().any(|volume| volume.name == *held).then(|| held.clone())
    }

    /// What can be removed: what runs that are over left; with `all`, every layer too.
    fn left<'a>(&'a self, marks: &'a Marks, all: bool) -> impl Iterator<Item = &'a Volume> {
        let Self(volumes) = self;
        let held = |name: &String| {
            volumes.iter().any(|volume| volume.labels.get(marks::HELD) == Some(name))
        };
        let left = move |volume: &&Volume| {
            let labels = &volume.labels;
            match labels.contains_key(marks::HELD) {
                _ if all && is_layer(labels) => marks.is_ours(labels),
                true => marks.is_ours(labels) && self.holder(&volume.name).is_none(),
                false if is_layer(labels) => marks.is_left(labels) && !held(&volume.name),
                false => marks.is_left(labels),
            }
        };
        volumes.iter().filter(left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::Volume;

    use super::Known;
    use crate::base::HostPath;
    use crate::sandbox::docker::marks::{self, Marks};

    fn volume(name: &str, labels: HashMap<String, String>, held: Option<&str>) -> Volume {
        let held = held.map(|held| (marks::HELD.to_owned(), held.to_owned()));
        let labels = labels.into_iter().chain(held).collect();
        Volume { name: name.to_owned(), labels, ..Volume::default() }
    }

    #[test]
    fn whole_layers_stay_and_what_is_half_or_nobodys_goes() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one")];
        let [home, other] = folders.each_ref().map(|folder| HostPath::new(folder.path()));
        let ours = Marks::new(&home).expect("marks");
        let dead = Marks::new(&home).expect("marks");
        let foreign = Marks::new(&other).expect("marks");
        let (layer, run) = (marks::LAYER, marks::CONTAINER);
        let known = Known(vec![
            volume("whole", dead.labels(layer), None),
            volume("points to it", dead.labels(layer), Some("whole")),
            volume("points nowhere", dead.labels(layer), Some("vanished")),
            volume("half", dead.labels(layer), None),
            volume("of a dead run", dead.labels(run), None),
            volume("being filled", ours.labels(layer), None),
            volume("of this run", ours.labels(run), None),
            volume("another's", foreign.labels(run), None),
            volume("another's layer", foreign.labels(layer), None),
            volume("anybody's", HashMap::new(), None),
        ]);
        drop((dead, foreign));
        let left = |all| -> Vec<_> { known.left(&ours, all).map(|left| &*left.name).collect() };
        assert_eq!(left(false), ["points nowhere", "half", "of a dead run"]);
        let every = ["whole", "points to it", "points nowhere", "half", "of a dead run"];
        assert_eq!(left(true), [&every[..], &["being filled"]].concat());
        assert_eq!(known.holder("points to it").as_deref(), Some("whole"));
        assert_eq!(known.holder("points nowhere"), None);
        assert_eq!(known.holder("whole"), None);
    }
}
