//! Build roots: packages unpacked natively, configured by the root's own dpkg.
//!
//! A root is layers. Each is made in the same steps: every package is unpacked once into a tree
//! that all roots share; the layer is put together from links to those files, with dpkg's database
//! written as `dpkg --unpack` would have left it; the root's own dpkg unpacks the packages that
//! have a preinst and configures all of them, in the sandbox; what it wrote is merged in, and what
//! differs from run to run is taken out.

mod blame;
mod configure;
mod database;
mod error;
mod folder;
mod inspect;
mod manifest;
mod normal;
mod order;
mod owners;
mod place;
mod settle;
mod unpacked;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::archive::deb::index::BinaryPackage;
use crate::base::{Digest, HostPath, Json};
use crate::sandbox::{Executor, native};
use crate::store::{StagedLayer, Store};
use configure::Halves;
use database::Database;
pub use error::Error;
use folder::{Folder, Owner};
pub use inspect::{Depth, layer_is_whole, unpacked_is_whole};
pub use manifest::{Entry, EntryKind, Manifest};
pub use owners::Owners;
use place::{Laid, Placed};
use unpacked::{Unpacked, What};

/// The version of the way roots are unpacked, configured and normalised; part of every action id.
pub const ASSEMBLY: u32 = 1;

/// A package of a build root.
#[derive(Debug, Clone)]
pub struct RootPackage {
    /// What its index or its own control file says.
    pub package: Arc<BinaryPackage>,
    /// The `.deb` in the store.
    pub object: Digest,
}

/// A build root that can be built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRoot {
    /// Read-only trees, the lowest first.
    pub layers: Vec<HostPath>,
    /// Of each layer.
    pub manifests: Vec<Digest>,
}

/// What is happening while a root is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `unpack`, `assemble`, `configure` or `settle`.
    pub step: &'static str,
    /// So many packages are through this step.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// A package on its way into a layer.
#[derive(Debug)]
struct Member {
    root: RootPackage,
    unpacked: Unpacked,
}

/// The build root of these packages, in layers, the lowest first, each found in the store or made.
/// If a layer has a package that one below it has too, all of it is one layer, in which the upper
/// one wins. Any number of processes may ask at once.
pub fn provide(
    store: &Store,
    executor: &dyn Executor,
    layers: &[Vec<RootPackage>],
    cancel: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<BuildRoot, Error> {
    let maker = Maker { store, executor, cancel, progress, owner: owner() };
    let mut whole: Vec<RootPackage> = Vec::new();
    let mut replaced = false;
    for layer in layers {
        let before = whole.len();
        whole.retain(|package| !layer.iter().any(|other| same_place(package, other)));
        replaced |= whole.len() < before;
        whole.extend_from_slice(layer);
    }
    let mut root = Stack::default();
    if replaced {
        maker.add_layer(&mut root, &whole)?;
    } else {
        for layer in layers.iter().filter(|layer| !layer.is_empty()) {
            maker.add_layer(&mut root, layer)?;
        }
    }
    Ok(BuildRoot { layers: root.paths, manifests: root.manifests })
}

/// Whether two packages cannot both be installed because they are one package to dpkg.
fn same_place(one: &RootPackage, other: &RootPackage) -> bool {
    one.package.name == other.package.name
        && (one.package.architecture == other.package.architecture
            || one.package.multi_arch != crate::archive::deb::index::MultiArch::Same)
}

/// The layers so far.
#[derive(Default)]
struct Stack {
    keys: Vec<Digest>,
    paths: Vec<HostPath>,
    manifests: Vec<Digest>,
}

struct Maker<'a> {
    store: &'a Store,
    executor: &'a dyn Executor,
    cancel: &'a AtomicBool,
    progress: &'a (dyn Fn(Progress) + Sync),
    owner: Owner,
}

impl Maker<'_> {
    fn add_layer(&self, below: &mut Stack, packages: &[RootPackage]) -> Result<(), Error> {
        let mut packages = packages.to_vec();
        packages.sort_by(|a, b| canonical(&a.package).cmp(&canonical(&b.package)));
        let key = key(below, &packages);
        let _alone = self.store.lock_unless(&format!("layer-{key}"), self.cancel)?;
        let layer = match self.store.layer(&key)? {
            Some(layer) => layer,
            None => self.make(below, &packages, &key)?,
        };
        below.keys.push(key);
        below.paths.push(layer.path);
        below.manifests.push(layer.manifest);
        Ok(())
    }

    fn make(
        &self,
        below: &Stack,
        packages: &[RootPackage],
        key: &Digest,
    ) -> Result<crate::store::Layer, Error> {
        let (members, fresh) = self.unpack_all(packages)?;
        let made = self.assemble(below, &members);
        // What was unpacked is good whatever became of the root.
        self.store.commit_many_unpacked(fresh)?;
        let (staged, manifest) = made?;
        let manifest = self.store.put_json(&manifest.to_json())?;
        Ok(self.store.commit_layer(key, staged, &manifest)?)
    }

    /// Unpacks what is not yet unpacked, the largest first, on all processors.
    #[expect(clippy::type_complexity, reason = "the trees to commit go to the store as they are")]
    fn unpack_all(
        &self,
        packages: &[RootPackage],
    ) -> Result<(Vec<Member>, Vec<(crate::base::Sha256, StagedLayer)>), Error> {
        let mut order: Vec<usize> = (0..packages.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(packages[*index].package.size));
        let done = AtomicUsize::new(0);
        let mut unpacked: Vec<_> = order
            .into_par_iter()
            .with_max_len(1)
            .map(|index| {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                let one = self.unpack(&packages[index])?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress { step: "unpack", done, total: packages.len() });
                Ok((index, one))
            })
            .collect::<Result<_, Error>>()?;
        unpacked.sort_by_key(|(index, _)| *index);
        let (mut members, mut fresh) = (Vec::new(), Vec::new());
        for (index, (unpacked, staged)) in unpacked {
            let root = packages[index].clone();
            fresh.extend(staged.map(|staged| (root.package.sha256, staged)));
            members.push(Member { root, unpacked });
        }
        Ok((members, fresh))
    }

    fn unpack(&self, package: &RootPackage) -> Result<(Unpacked, Option<StagedLayer>), Error> {
        if let Some(path) = self.store.unpacked(&package.package.sha256)? {
            match Unpacked::load(path) {
                Ok(unpacked) if unpacked.is_whole() => return Ok((unpacked, None)),
                // What is not whole is made again, and takes the place of the rest.
                Ok(_) | Err(_) => self.store.forget_unpacked(&package.package.sha256)?,
            }
        }
        let deb = self.store.open_sound(&package.object)?;
        let staged = self.store.stage_layer()?;
        let unpacked = unpacked::unpack(deb, staged.path(), self.owner).map_err(|error| {
            let title = package.package.title();
            match error {
                Error::Package { source, .. } => Error::Package { package: title, source },
                other => other,
            }
        })?;
        Ok((unpacked, Some(staged)))
    }

    /// The layer's tree and what it holds.
    fn assemble(
        &self,
        below: &Stack,
        members: &[Member],
    ) -> Result<(StagedLayer, Manifest), Error> {
        let total = members.len();
        (self.progress)(Progress { step: "assemble", done: 0, total });
        let mut view = Manifest::default();
        for digest in &below.manifests {
            let lost = || Error::Database(format!("its manifest `{digest}` is lost"));
            let manifest = self.store.json(digest)?.ok_or_else(lost)?;
            view = view.under(Manifest::from_json(&manifest)?);
        }
        let database = Database::read(&below.paths)?;
        let bootstrap = order::bootstrap(members, &database);
        let scripted = |member: &Member| member.unpacked.path.join("control/preinst");
        let delegated: BTreeSet<usize> = (0..members.len())
            .filter(|index| scripted(&members[*index]).as_path().exists())
            .collect();
        let early = |index| bootstrap.contains(&index);
        let laid = place::place(members, &view, &database, delegated, early)?;
        let steps = order::steps(members, &bootstrap, &laid.delegated);

        let staged = self.store.stage_layer()?;
        let halves = Halves {
            farm: staged.path().clone(),
            upper: configure::folder(staged.beside().join("upper"), self.owner)?,
            work: configure::folder(staged.beside().join("work"), self.owner)?,
        };
        self.link_files(&halves.farm, members, &laid, &database)?;
        let packages = staged.beside().join("packages");
        let delivery =
            configure::Delivery::prepare(packages, self.store, members, &steps, self.owner)?;
        (self.progress)(Progress { step: "configure", done: 0, total });
        let report = |done| (self.progress)(Progress { step: "configure", done, total });
        std::thread::scope(|scope| {
            // What was unpacked is written out while dpkg is busy; committing it waits for less.
            scope.spawn(|| fs::File::open(&halves.farm).map(rustix::fs::syncfs));
            configure::run(self.executor, &below.paths, &halves, &delivery, self.cancel, &report)
        })?;
        configure::check(&halves)?;
        (self.progress)(Progress { step: "settle", done: 0, total });
        let time = latest(members, &view);
        let manifest = settle::settle(&halves, members, &laid.placement, &view, time)?;
        Ok((staged, manifest))
    }

    /// Fills the layer: folders, links, other names of the unpacked files, dpkg's database.
    fn link_files(
        &self,
        farm: &HostPath,
        members: &[Member],
        laid: &Laid,
        database: &Database,
    ) -> Result<(), Error> {
        let mut folder = Folder::open(farm, self.owner)?;
        folder.adopt()?;
        for (path, placed) in &laid.placement {
            let &Placed::Item(index, number) = placed else {
                match placed {
                    Placed::Merged(target) => folder.link(path, target, 0)?,
                    _ => folder.directory(path, 0o755)?,
                }
                continue;
            };
            let item = &members[index].unpacked.contents.items[number];
            match &item.what {
                // Open to its owner until the layer is settled.
                What::Directory => folder.directory(path, item.mode | 0o700)?,
                What::Link(target) => folder.link(path, target, item.time)?,
                What::File { .. } => {
                    folder.hard_link(&members[index].unpacked.file(&item.path), path)?;
                }
            }
        }
        if !laid.placement.contains_key(configure::POLICY) {
            configure::deny_services(&mut folder)?;
        }
        let native: Vec<&Member> = members
            .iter()
            .enumerate()
            .filter(|(index, _)| !laid.delegated.contains(index))
            .map(|(_, member)| member)
            .collect();
        database.write(&mut folder, &native)
    }
}

/// Packages of a layer in the order they are unpacked: the basic folders decide the modes of
/// folders that many packages ship.
fn canonical(package: &BinaryPackage) -> (bool, &str, &str) {
    let basic = package.name.as_str() == "base-files";
    (!basic, package.name.as_str(), package.architecture.as_str())
}

/// The name of a layer: how it is made, over what, and of which packages.
fn key(below: &Stack, packages: &[RootPackage]) -> Digest {
    let package = |RootPackage { package, object }: &RootPackage| {
        Json::array([
            Json::text(&package.name),
            Json::text(&package.version),
            Json::text(&package.architecture),
            Json::text(object),
        ])
    };
    let document = Json::object([
        ("assembly", ASSEMBLY.into()),
        ("below", Json::Array(below.keys.iter().map(Json::text).collect())),
        ("packages", Json::Array(packages.iter().map(package).collect())),
    ]);
    Digest::of(&document.encode())
}

/// The latest time of anything the packages ship, here or below.
fn latest(members: &[Member], below: &Manifest) -> u64 {
    let items = members.iter().flat_map(|member| &member.unpacked.contents.items);
    let here = items.map(|item| item.time).max().unwrap_or(0);
    below.entries.values().map(|entry| entry.time).max().unwrap_or(0).max(here)
}

fn member_title(member: &Member) -> String {
    member.root.package.title()
}

/// Whom the root's files are given to, if not to whoever runs us.
fn owner() -> Owner {
    let (uid, gid) = native::owner();
    let ours =
        rustix::process::geteuid().as_raw() == uid && rustix::process::getegid().as_raw() == gid;
    (!ours).then_some((uid, gid))
}
