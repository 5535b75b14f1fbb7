//! What a moved archive leads to, before it is adopted: which packages of the build roots change,
//! which packages of the release are built because of them, and how long that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::build;
use super::cascade::Cascade;
use super::cause::few;
use super::changes::{self, short};
use super::context::{Machine, Release};
use super::failure::{Failure, Kind};
use super::progress::duration;
use super::report::count;
use crate::base::DerivationId;
use crate::graph::diff::{Change, Key};
use crate::pin::Locked;
use crate::plan;
use crate::realise::bump::{self, Bump, PackageChange, RootChange, Side};
use crate::realise::driver;
use crate::realise::record::Record;
use crate::realise::universe::Snapshots;

/// How many rows a table has at most; a document has them all.
const ROWS: usize = 60;
/// How wide a line may get.
const WIDTH: usize = 100;

/// What moved archives lead to.
pub struct BumpPlan {
    bump: Bump,
    total: usize,
    /// How long it takes if everything has to be built.
    most: Duration,
    /// How long it takes if only that is built which is sure to be.
    least: Duration,
    /// How many of those that are built were never timed.
    unknown: usize,
}

/// What is known of a package that changes in some build roots.
struct Row<'a> {
    change: &'a Change,
    /// Whether it is of the snapshot, and so in every build root.
    in_snapshot: bool,
    /// The packages of the release in whose build roots it is.
    users: Vec<&'a Key>,
}

impl BumpPlan {
    /// Solves each build root of the release against the old and the new state of its archives.
    pub fn new(
        release: &Release,
        locked: &Locked,
        cascade: &Cascade,
        global: &super::arguments::Global,
    ) -> Result<Self, Failure> {
        let failed = |error: crate::realise::Error| Failure::error(Kind::Machine, "roots", &error);
        let old_graph = release.graph()?;
        let (spec, lock) = (cascade.spec().clone(), Some(locked.lock.clone()));
        let moved = Release { folder: release.folder.clone(), spec, lock };
        let old_machine = Machine::open(release, global)?;
        let new_machine = Machine::open(&moved, global)?.with_evidence(locked.evidence());
        let (old_world, new_world) = (old_machine.world(), new_machine.world());
        let (options, graph) = (build::default_options(), cascade.graph());
        let wanted: Vec<DerivationId> = old_graph.packages().map(|(node, _)| node.id).collect();
        let survey = driver::survey(&old_world, &old_graph, &wanted, &options).map_err(failed)?;
        let records: BTreeMap<DerivationId, Arc<Record>> =
            survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1))).collect();
        let (snapshots, none) = ([Snapshots::default(), Snapshots::default()], BTreeMap::new());
        let old = Side {
            world: &old_world,
            graph: &old_graph,
            snapshots: &snapshots[0],
            records: &records,
        };
        let new = Side { world: &new_world, graph, snapshots: &snapshots[1], records: &none };
        let bump = bump::between(&old, &new).map_err(failed)?;

        let wanted: Vec<DerivationId> = graph.packages().map(|(node, _)| node.id).collect();
        let time = |counts: fn(&PackageChange) -> bool| {
            let built: BTreeSet<DerivationId> =
                bump.packages.iter().filter(|one| counts(one)).map(|one| one.id).collect();
            let instant = wanted.iter().copied().filter(|id| !built.contains(id)).collect();
            let plan = driver::plan(&new_world, graph, &wanted, &options, &instant);
            let times = plan::foresee(plan.map_err(failed)?);
            Ok::<_, Failure>(times.iter().map(|one| one.end).max().unwrap_or_default())
        };
        let durations = new_world.store.durations().unwrap_or_default();
        let built = bump.packages.iter().filter(|one| !one.stays());
        let unknown = built.filter(|one| !durations.contains_key(&one.key.name)).count();
        let (most, least) = (time(|one| !one.stays())?, time(PackageChange::is_sure)?);
        Ok(Self { total: wanted.len(), bump, most, least, unknown })
    }

    /// The rows of the table of changed packages: those of the snapshot first.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut users: BTreeMap<&Change, Vec<&Key>> = BTreeMap::new();
        for package in &self.bump.packages {
            for change in &package.root {
                users.entry(change).or_default().push(&package.key);
            }
        }
        let of_roots: BTreeSet<&Change> =
            self.bump.roots.iter().flat_map(|root| &root.changes).collect();
        let snapshot = of_roots.iter().map(|change| Row {
            change,
            in_snapshot: true,
            users: users.get(change).cloned().unwrap_or_default(),
        });
        let others = users.iter().filter(|(change, _)| !of_roots.contains(**change));
        let others =
            others.map(|(change, users)| Row { change, in_snapshot: false, users: users.clone() });
        snapshot.chain(others).collect()
    }

    /// All of it for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let rows = self.rows();
        for RootChange { name, size, changes } in &self.bump.roots {
            let number = changes.len();
            let _ = match number {
                0 => {
                    writeln!(text, "\nroot {name}: none of its {} changes", count(*size, "package"))
                }
                _ => {
                    writeln!(text, "\nroot {name}: {number} of {} change", count(*size, "package"))
                }
            };
        }
        let shown = &rows[..rows.len().min(ROWS)];
        let widest = |of: fn(&Row<'_>) -> String| {
            shown.iter().map(|row| of(row).chars().count()).max().unwrap_or_default().min(44)
        };
        let (names, versions) =
            (widest(|row| row.change.item.clone()), widest(|row| version(row.change)));
        let everything = self.bump.packages.len();
        let mut before = None;
        for row in shown {
            if before != Some(row.in_snapshot) {
                text.push_str(match row.in_snapshot {
                    true => "\nin the snapshot, and so in every build root\n",
                    false => "\nin the build roots of some\n",
                });
                before = Some(row.in_snapshot);
            }
            let users = match row.users.len() {
                number if number == everything && number > 1 => format!("all {number}"),
                _ => few(row.users.iter().map(|key| key.name.as_str())),
            };
            let Change { item, .. } = row.change;
            let line = format!("  {item:names$}  {:versions$}  {users}", version(row.change));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if rows.len() > shown.len() {
            let _ = writeln!(text, "  and {} more", rows.len() - shown.len());
        }
        self.write_packages(&mut text);
        text
    }

    fn write_packages(&self, text: &mut String) {
        let packages = &self.bump.packages;
        let (sure, others): (Vec<_>, Vec<_>) = packages.iter().partition(|one| one.is_sure());
        let (perhaps, stay): (Vec<_>, Vec<_>) = others.into_iter().partition(|one| !one.stays());
        let all = count(self.total, "package");
        if sure.is_empty() && perhaps.is_empty() {
            let _ = writeln!(text, "\nnothing is rebuilt: every build root stays as it is");
            return;
        }
        let _ = write!(text, "\nrebuilt: {} of {all}", sure.len());
        if !perhaps.is_empty() {
            let _ = write!(text, ", and {} if what they need comes out another", perhaps.len());
        }
        let _ = write!(text, "; about {}", duration(self.least));
        if self.least < self.most {
            let _ = write!(text, ", at most {}", duration(self.most));
        }
        if self.unknown > 0 {
            let minute = duration(plan::UNKNOWN);
            let _ = write!(text, " ({} never timed: {minute} each is assumed)", self.unknown);
        }
        text.push('\n');
        let listed: Vec<&PackageChange> = sure.into_iter().chain(perhaps).collect();
        let width = listed.iter().take(ROWS).map(|one| one.key.name.as_str().len()).max();
        let width = width.unwrap_or_default();
        for one in listed.iter().take(ROWS) {
            let because = self.because(one);
            for (index, row) in changes::wrapped(&because, WIDTH - 4 - width).iter().enumerate() {
                let name = if index == 0 { one.key.name.as_str() } else { "" };
                let _ = writeln!(text, "  {name:width$}  {row}");
            }
        }
        if listed.len() > ROWS {
            let _ = writeln!(text, "  and {} more; `--json` has them all", listed.len() - ROWS);
        }
        if !stay.is_empty() {
            let names = few(stay.iter().map(|one| one.key.name.as_str()));
            let _ = writeln!(text, "as before: {names}, in the same build root");
        }
    }

    /// Why a package is or may be built.
    fn because(&self, one: &PackageChange) -> String {
        let mut parts = Vec::new();
        if !one.unsolvable.is_empty() {
            parts.push(format!("has no build root any more: {}", one.unsolvable.join("; ")));
        }
        let fields: BTreeSet<&str> = one.own.iter().map(|change| change.field.as_str()).collect();
        if !fields.is_empty() {
            let version = one.own.iter().find(|change| change.field == "version");
            let version = version.map(|change| format!(" ({})", self::version(change)));
            let fields = few(fields.into_iter());
            parts.push(format!("own {fields}{}", version.unwrap_or_default()));
        }
        if !one.root.is_empty() {
            parts.push(few(one.root.iter().map(|change| change.item.as_str())));
        }
        if !one.needs.is_empty() {
            let needs = few(one.needs.iter().map(|key| key.name.as_str()));
            parts.push(match one.is_sure() {
                true => format!("needs {needs}"),
                false => format!("needs {needs}: stays as it is if that comes out the same"),
            });
        }
        parts.join("; ")
    }

    /// The same as documents: of the roots, and of what is rebuilt.
    pub fn documents(&self) -> (Value, Value) {
        let rows = self.rows();
        let row = |row: &Row<'_>| {
            let Change { item, old, new, .. } = row.change;
            json!({
                "package": item,
                "old": old,
                "new": new,
                "snapshot": row.in_snapshot,
                "used_by": row.users.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(),
            })
        };
        let root = |root: &RootChange| json!({ "name": root.name, "packages": root.size, "changed": root.changes.len() });
        let change = |change: &Change| {
            json!({
                "field": change.field, "item": change.item, "old": change.old, "new": change.new,
            })
        };
        let package = |one: &PackageChange| {
            json!({
                "name": one.key.name.as_str(),
                "architecture": one.key.architecture.as_str(),
                "derivation": one.id.to_string(),
                "rebuilt": match (one.is_sure(), one.stays()) {
                    (true, _) => "yes",
                    (false, false) => "perhaps",
                    (false, true) => "no",
                },
                "own": one.own.iter().map(change).collect::<Vec<_>>(),
                "root": one.root.iter().map(change).collect::<Vec<_>>(),
                "needs": one.needs.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(),
                "unsolvable": one.unsolvable,
            })
        };
        let packages = &self.bump.packages;
        let rebuilds = json!({
            "packages": packages.iter().filter(|one| !one.stays()).count(),
            "sure": packages.iter().filter(|one| one.is_sure()).count(),
            "milliseconds": self.most.as_millis() as u64,
            "milliseconds_least": self.least.as_millis() as u64,
            "unknown": self.unknown,
            "plan": packages.iter().map(package).collect::<Vec<_>>(),
        });
        let roots = json!({
            "roots": self.bump.roots.iter().map(root).collect::<Vec<_>>(),
            "changes": rows.iter().map(row).collect::<Vec<_>>(),
        });
        (roots, rebuilds)
    }
}

/// `1.0 -> 1.1`, `new, 1.1`, `gone`.
pub fn version(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if old.len() == 64 && new.len() == 64 => "other bytes".to_owned(),
        (Some(old), Some(new)) => format!("{} -> {}", short(old), short(new)),
        (None, Some(new)) => format!("new, {}", short(new)),
        (Some(_), None) => "gone".to_owned(),
        (None, None) => String::new(),
    }
}
