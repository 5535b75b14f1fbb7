//! `audit closure`: the certificate that a release is closed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::address::slashed;
use super::super::arguments::Global;
use super::super::cause::few;
use super::super::changes::wrapped;
use super::super::failure::{Failure, Kind};
use super::super::output::{CommandResult, Output};
use super::super::progress::reading;
use super::super::report::{bytes, count};
use super::{Asked, unread};
use crate::audit::closure::steps::{Step, steps, wanted};
use crate::audit::closure::{
    Basis, Certificate, Depth, Reason, Same, Shadowed, Share, Standing, Why, certify,
};
use crate::audit::evidence::{Foreseen, Ground};
use crate::audit::fixpoint::{Closure, Fixpoint};
use crate::base::{Digest, HostPath, PackageName};
use crate::graph::{Derivation, Origin};
use crate::realise::universe::Snapshots;
use crate::spec::model::Located;
use crate::spec::release::Level;

/// How many packages are told of one by one: the rest of a screen is for what follows.
const TOLD: usize = 8;
/// The same for shadowed packages.
const TOLD_SHADOWED: usize = 3;
/// The same for steps.
const TOLD_STEPS: usize = 4;
/// How wide the text may get.
const COLUMNS: usize = 80;
/// How much of a name is shown in the table.
const LONGEST_NAME: usize = 22;

/// Certifies a release.
pub fn run(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let asked = Asked::new(words, global).map_err(wrong)?;
    let Asked { release, graph, wanted, machine } = &asked;
    let snapshots = Snapshots::default();
    let world = machine.world();
    let bar = reading(global);
    bar.set_message("objects");
    let seen = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let depth = Depth::Bytes;
    let ground = Ground { world: &world, graph, snapshots: &snapshots, depth, seen: &seen };
    let evidence = ground.read(wanted, &Foreseen::new());
    bar.finish_and_clear();
    let evidence = evidence.map_err(|error| wrong(unread(&error)))?;
    let certificate = certify(&evidence);
    let document = certificate.to_json();
    let digest = Digest::of(&document.encode());
    // A store that takes no writes is looked at all the same.
    let kept = world.store.put_json(&document).is_ok();
    let steps = ahead(&asked, &certificate, &snapshots, output);
    let required = release.spec.release.closure.as_ref();
    let fixpoint = Fixpoint::last(world.store, graph.release());
    let rounds = fixpoint.as_ref().map(|(_, found)| found);
    let told = Told { certificate: &certificate, required, rounds, folder: &release.folder };
    output.text(&told.text(&steps));
    if kept {
        let path = world.store.document_path(&digest);
        output.summary(&format!("certificate {}\n  check: b3sum {path}\n", digest.short()));
    }
    let answer = json!({
        "release": release.built_document(graph, certificate.manifest),
        "certificate": serde_json::from_slice::<Value>(&document.encode()).unwrap_or_default(),
        "digest": digest.to_string(),
        "required": required.map(|required| required.value.as_str()),
        "steps": steps.iter().map(step_document).collect::<Vec<_>>(),
        "fixpoint": fixpoint.as_ref().map(|(digest, found)| json!({
            "document": digest.to_string(),
            "end": found.end,
            "rounds": found.rounds.len(),
            "closure": serde_json::to_value(&found.closure).unwrap_or_default(),
        })),
    });
    match lacking(&certificate, required).or_else(|| unproved(&certificate, wanted.len())) {
        None => Ok(answer),
        Some(failure) => Err((answer, failure)),
    }
}

/// Why a release is below the level that it has to have; that it is not closed at all, if none is
/// demanded.
pub fn lacking(certificate: &Certificate, required: Option<&Located<Level>>) -> Option<Failure> {
    let level = required.map_or(Level::Sealed, |required| required.value);
    let demanded = required.map_or(String::new(), |required| {
        let place = required.span.as_ref();
        let place = place.map_or(String::new(), |span| format!(" ({}:{})", span.file, span.line));
        format!("the release is not `{}`, as it has to be{place}", level.as_str())
    });
    let reasons = certificate.reasons(level).into_iter();
    let failures = reasons.map(|reason| {
        let code = match reason {
            Reason::Open(_) => "not-closed",
            Reason::Shadowed { .. } => "shadowed-seed",
            Reason::Seed { .. } => "seed",
        };
        match demanded.is_empty() {
            true => Failure::new(Kind::Result, code, reason),
            false => Failure::new(Kind::Result, code, &demanded).because(reason.to_string()),
        }
    });
    failures.reduce(Failure::and)
}

/// That nothing is proved, where not everything that was asked for is built.
fn unproved(certificate: &Certificate, asked: usize) -> Option<Failure> {
    let is_open = |one: &&Standing| matches!(one.basis, Basis::Foreseen | Basis::Unknown(_));
    let open = certificate.packages.iter().filter(is_open).count();
    (open > 0).then(|| {
        let message = format!(
            "the closure is not proved: {} of {} not built as the release is now",
            open,
            count(asked.max(open), "package"),
        );
        Failure::new(Kind::Result, "unproved", message)
            .hint("`perestroika build` builds the rest; until then, what is said of it is foreseen")
    })
}

/// What would have to be added to shrink the seed; nothing where the pinned indexes of sources
/// cannot be had.
fn ahead(
    asked: &Asked,
    certificate: &Certificate,
    snapshots: &Snapshots,
    output: &Output,
) -> Vec<Step> {
    let (graph, world) = (&asked.graph, asked.machine.world());
    let roots: BTreeSet<_> = certificate.seed.iter().map(|seed| seed.root).collect();
    let mut found = Vec::new();
    for id in roots {
        let Some(node) = graph.node(id) else { continue };
        let (Derivation::Root(root), Origin::Root { archive, .. }) =
            (&node.derivation, &node.origin)
        else {
            continue;
        };
        let names = wanted(certificate, id);
        let names: BTreeSet<&PackageName> = names.iter().collect();
        let sources = world.upstream.sources(world.store, archive, &names, world.cancel);
        match (sources, snapshots.get(&world, graph, id)) {
            (Ok(sources), Ok(snapshot)) => {
                found.extend(steps(certificate, (id, root), &snapshot, &sources));
            }
            (Err(error), _) => {
                output.note(&format!("what would shrink the seed is not known: {error}"));
            }
            (_, Err(error)) => {
                output.note(&format!("what would shrink the seed is not known: {error}"));
            }
        }
    }
    found
}

fn step_document(step: &Step) -> Value {
    let names = |names: &[PackageName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "source": step.source.as_str(),
        "removes": names(&step.removes),
        "bytes": step.bytes,
        "brings": step.brings.as_ref().ok().map(|brings| names(brings)),
        "unsolvable": step.brings.as_ref().err(),
    })
}

/// Everything there is to tell.
struct Told<'a> {
    certificate: &'a Certificate,
    required: Option<&'a Located<Level>>,
    /// What came of building it in rounds, if it was.
    rounds: Option<&'a Fixpoint>,
    folder: &'a HostPath,
}

impl Told<'_> {
    fn text(&self, steps: &[Step]) -> String {
        let certificate = self.certificate;
        let release = &certificate.release;
        let mut text = format!("{} {} · {}", release.name, release.version, certificate.id.short());
        if let Some(manifest) = certificate.manifest {
            let _ = write!(text, " · manifest {}", manifest.short());
        }
        let _ = writeln!(text, "\nclosure    {}", self.level());
        let _ = writeln!(text, "looked at  {}", self.looked());
        if let Some(rounds) = self.rounds {
            let _ = writeln!(text, "in rounds  {}", outcome(rounds));
        }
        text.push('\n');
        self.table(&mut text);
        self.shadowed(&mut text);
        self.steps(steps, &mut text);
        text
    }

    fn level(&self) -> String {
        let certificate = self.certificate;
        let required = self.required.map_or(String::new(), |required| {
            format!(" (release.toml requires `{}`)", required.value.as_str())
        });
        let findings = certificate.findings.len();
        let level = match (certificate.proved(), certificate.possible()) {
            (Some(level), _) => level.as_str().to_owned(),
            (None, None) => format!("open: {}", count(findings, "finding")),
            (None, Some(level)) if self.is_partial() => {
                format!("{}, as far as was asked for", level.as_str())
            }
            (None, Some(level)) => format!("not proved; at most {}", level.as_str()),
        };
        format!("{level}{required}")
    }

    /// Whether nothing is open but what was not asked for.
    fn is_partial(&self) -> bool {
        let packages = self.certificate.packages.iter();
        packages.map(|one| &one.basis).all(|it| matches!(it, Basis::Recorded | Basis::Unasked))
    }

    fn looked(&self) -> String {
        let packages = &self.certificate.packages;
        let with = |basis: fn(&Basis) -> bool| packages.iter().filter(|p| basis(&p.basis)).count();
        let recorded = with(|basis| *basis == Basis::Recorded);
        let foreseen = with(|basis| *basis == Basis::Foreseen);
        let unknown = with(|basis| matches!(basis, Basis::Unknown(_)));
        let objects = self.certificate.looked.objects;
        let mut parts = vec![format!("the records of {}", count(recorded, "package"))];
        if objects > 0 {
            parts.push(format!("{} that they name, byte for byte", count(objects, "object")));
        }
        let others = [(foreseen, "not built, foreseen"), (unknown, "of which nothing is known")];
        let others = others.iter().filter(|(number, _)| *number > 0);
        let others = others.map(|(number, what)| format!("{} {what}", count(*number, "package")));
        let others: Vec<String> = others.collect();
        let looked = parts.join("; ");
        if others.is_empty() {
            looked
        } else {
            format!("{looked}\n           {}", others.join("; "))
        }
    }

    fn table(&self, text: &mut String) {
        let certificate = self.certificate;
        let mut rows: Vec<&Standing> =
            certificate.packages.iter().filter(|one| one.basis != Basis::Unasked).collect();
        // What is furthest from being the release's own first.
        let all = rows.len();
        if all > TOLD {
            rows.sort_by_key(|one| std::cmp::Reverse((one.shadowed, one.seed.packages)));
        }
        let _ = writeln!(
            text,
            "{:LONGEST_NAME$}  {:>10}  {:>16}  {:>16}  {:>8}",
            "build root of", "packages", "own", "seed", "shadowed"
        );
        for one in rows.iter().take(TOLD) {
            let mark = if one.basis == Basis::Recorded { "" } else { " ?" };
            let name = shortened(&format!("{}{mark}", one.name));
            if let Basis::Unknown(why) = &one.basis {
                let _ = writeln!(text, "{name:LONGEST_NAME$}  {why}");
                continue;
            }
            let _ = writeln!(text, "{}", row(&name, one.own, one.seed, one.shadowed));
        }
        if all > TOLD {
            let _ = writeln!(text, "and {} more; `--json` has them all", all - TOLD);
        }
        let (own, seed) = (certificate.own, certificate.seed_share());
        let _ = writeln!(text, "{}", row("all together", own, seed, certificate.shadowed.len()));
        if rows.iter().any(|one| one.basis != Basis::Recorded) {
            let _ = writeln!(text, "?: not built as the release is now; what would be used");
        }
    }

    fn shadowed(&self, text: &mut String) {
        let shadowed = &self.certificate.shadowed;
        if shadowed.is_empty() {
            return;
        }
        let title = "shadowed seed: the archive's, though the release builds one of the name";
        let _ = writeln!(text, "\n{title}");
        let mut most: Vec<&Shadowed> = shadowed.iter().collect();
        most.sort_by_key(|one| std::cmp::Reverse(one.roots.len()));
        for one in most.iter().take(TOLD_SHADOWED) {
            let same = match one.same {
                Same::Differs => "",
                Same::Unknown => " (may come out the same)",
            };
            let _ = writeln!(text, "  {}{same}", one.package.title());
            for line in wrapped(&why(one), COLUMNS - 4) {
                let _ = writeln!(text, "    {line}");
            }
        }
        if most.len() > TOLD_SHADOWED {
            let _ = writeln!(text, "  and {} more", most.len() - TOLD_SHADOWED);
        }
    }

    fn steps(&self, steps: &[Step], text: &mut String) {
        let all = self.certificate.seed.len();
        let possible: Vec<(&Step, usize)> = steps
            .iter()
            .filter_map(|step| Some((step, step.brings.as_ref().ok()?.len())))
            .collect();
        if possible.is_empty() {
            return;
        }
        let _ =
            writeln!(text, "\nto shrink the seed of {}, the smallest first", count(all, "package"));
        let folder = slashed(self.folder);
        for (step, brings) in possible.iter().take(TOLD_STEPS) {
            let command = format!("perestroika add {folder} {}", step.source);
            let leave = step.removes.len();
            let what = match brings {
                0 => format!("{leave} out, none in"),
                brings => format!("{leave} out, {brings} in"),
            };
            let _ = writeln!(text, "  {command:50}  {what}");
        }
        if possible.len() > TOLD_STEPS {
            let _ =
                writeln!(text, "  and {} more; `--json` has them all", possible.len() - TOLD_STEPS);
        }
        let note = "out: seed packages built from it, gone if it comes out as the archive has it";
        let _ = writeln!(text, "  {note}");
    }
}

/// How closed the release is where its rounds led to.
fn outcome(rounds: &Fixpoint) -> String {
    let number = rounds.rounds.len();
    let Some(Closure { level, own, seed, .. }) = &rounds.closure else {
        return format!("no fixpoint in {}", count(number, "round"));
    };
    format!(
        "{level} at the fixpoint, round {number}: its build roots have {own} packages of its own, \
         {seed} of the archive"
    )
}

fn row(name: &str, own: Share, seed: Share, shadowed: usize) -> String {
    let share = |share: Share| format!("{:>5} {:>10}", share.packages, bytes(share.bytes));
    let all = own.packages + seed.packages;
    let (own, seed) = (share(own), share(seed));
    format!("{name:LONGEST_NAME$}  {all:>10}  {own}  {seed}  {shadowed:>8}")
}

/// A name as long as its column of a table.
pub fn shortened(name: &str) -> String {
    match name.chars().count() {
        length if length > LONGEST_NAME => {
            let short: String = name.chars().take(LONGEST_NAME - 1).collect();
            format!("{short}…")
        }
        _ => name.to_owned(),
    }
}

/// Why the archive's package is where it is.
fn why(one: &Shadowed) -> String {
    let of = |wanted: Why| {
        let roots = one.roots.iter().filter(|(_, why)| *why == wanted);
        few(roots.map(|(name, _)| name.as_str()))
    };
    let reasons = [
        (Why::Itself, "builds it itself: "),
        (Why::FromSeed, "`from_seed` in "),
        (Why::NoEdge, "no build dependency on it in "),
        (Why::Round, "it is itself built with "),
    ];
    let mut parts: Vec<String> = Vec::new();
    for (reason, lead) in reasons {
        let names = of(reason);
        if !names.is_empty() {
            parts.push(format!("{lead}{names}"));
        }
    }
    if !one.asked_by.is_empty() {
        parts.push(format!("asked for by {}", few(one.asked_by.iter().map(PackageName::as_str))));
    }
    parts.join("; ")
}
