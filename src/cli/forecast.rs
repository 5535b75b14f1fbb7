//! `build -n`: what would be built, why, in which order, and how long that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::build::Prepared;
use super::cause::{self, Reason, Told};
use super::changes;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::duration;
use super::report::count;
use crate::base::DerivationId;
use crate::graph::derivation::Package;
use crate::plan::{self, Foreseen};
use crate::realise::driver::{self, Options, Surveyed};
use crate::realise::stale::{Ground, Outlook, Stale};
use crate::realise::universe::Snapshots;

/// How many packages are told of one by one; a document has them all.
const TOLD: usize = 60;
/// How wide a line may get.
const WIDTH: usize = 100;
/// Why what is there is built again.
const AGAIN: &str = "          cached, but never traced; what counts stays as it is\n";

/// Prints what a build would do. Nothing is fetched, written or built.
pub fn run(prepared: &Prepared, options: &Options, output: &Output) -> CommandResult {
    let failed = |error: crate::realise::Error| {
        (Value::Null, Failure::error(Kind::Machine, "machine", &error))
    };
    let Prepared { release, graph, wanted, machine } = prepared;
    let world = machine.world();
    let survey = driver::survey(&world, graph, wanted, options).map_err(failed)?;
    let snapshots = Snapshots::default();
    let ground = Ground { world: &world, graph, spec: &release.spec, snapshots: &snapshots };
    let stale = ground.explain(&survey).map_err(failed)?;
    let mut forecast = Forecast::new(prepared, options, &survey, &stale).map_err(failed)?;
    forecast.again = driver::untraced(&world, wanted, &survey, options);
    output.text(&forecast.text());
    Ok(forecast.document())
}

/// What a build would do.
struct Forecast<'a> {
    prepared: &'a Prepared,
    jobs: usize,
    /// What is built, in this order.
    steps: Vec<Step<'a>>,
    /// What is there, or turns out to be.
    there: Vec<(DerivationId, &'a Package)>,
    /// What of that is built again, to be traced.
    again: BTreeSet<DerivationId>,
    /// How long it takes if everything has to be built.
    most: Duration,
    /// How long it takes if only that is built which is sure to be.
    least: Duration,
}

/// A package that would be built.
struct Step<'a> {
    id: DerivationId,
    package: &'a Package,
    stale: &'a Stale,
    times: Foreseen,
    /// How long it took when it was last built.
    known: Option<Duration>,
    /// What is built before it because it needs that.
    after: Vec<&'a str>,
}

impl<'a> Forecast<'a> {
    fn new(
        prepared: &'a Prepared,
        options: &Options,
        survey: &[Surveyed],
        stale: &'a BTreeMap<DerivationId, Stale>,
    ) -> Result<Self, crate::realise::Error> {
        let Prepared { graph, wanted, machine, .. } = prepared;
        let world = machine.world();
        let built = |id: &DerivationId| stale.get(id).filter(|one| one.outlook != Outlook::Same);
        let instant = |counts: &dyn Fn(&Stale) -> bool| -> BTreeSet<DerivationId> {
            let ids = survey.iter().map(|one| one.derivation);
            ids.filter(|id| !built(id).is_some_and(counts)).collect()
        };
        let sure = instant(&|stale| stale.outlook == Outlook::Build);
        let least = plan::foresee(driver::plan(&world, graph, wanted, options, &sure)?);
        let all = instant(&|_| true);
        let times = plan::foresee(driver::plan(&world, graph, wanted, options, &all)?);
        let durations = world.store.durations()?;
        let packages = graph.with_needs(wanted);
        let name = |id: &DerivationId| Some(graph.node(*id)?.derivation.package()?.name.as_str());
        let step = |times: &Foreseen| {
            let (node, package) = packages.get(times.node.0)?;
            let needs = package.dependencies.iter().filter(|need| built(need).is_some());
            Some(Step {
                id: node.id,
                package,
                stale: built(&node.id)?,
                times: *times,
                known: durations.get(&package.name).copied(),
                after: needs.filter_map(name).collect(),
            })
        };
        let there = packages.iter().filter(|(node, _)| built(&node.id).is_none());
        Ok(Self {
            prepared,
            jobs: options.jobs.get(),
            steps: times.iter().filter_map(step).collect(),
            there: there.map(|(node, package)| (node.id, *package)).collect(),
            again: BTreeSet::new(),
            most: end(&times),
            least: end(&least),
        })
    }

    fn text(&self) -> String {
        let Prepared { release, graph, .. } = self.prepared;
        let spec = &release.spec.release;
        let (total, steps) = (self.there.len() + self.steps.len(), self.steps.len());
        let head = format!("{} {} · {}", spec.name, spec.version, graph.release().short());
        let packages = count(total, "package");
        let again = self.again();
        if steps == 0 {
            let rest = if again.is_empty() { ", nothing to build" } else { "" };
            return format!("{head} · {packages}: all cached{rest}\n{again}");
        }
        let mut text =
            format!("{head} · {packages}: {} cached, {steps} to build\n", self.there.len());
        let _ = writeln!(text, "{}", self.time());
        let groups = self.groups();
        if groups.len() > 1 && steps > 3 {
            for (number, told) in &groups {
                let _ = writeln!(text, "  {number:>4}  {}", told.line());
            }
        }
        let titles = self.steps.iter().take(TOLD).map(|step| title(step.package).chars().count());
        let width = titles.max().unwrap_or_default();
        for step in self.steps.iter().take(TOLD) {
            text.push('\n');
            step.write(width, &mut text);
        }
        if steps > TOLD {
            let _ = writeln!(text, "\n  and {} more; `--json` has them all", steps - TOLD);
        }
        if !self.there.is_empty() {
            let names: Vec<String> = self.there.iter().map(|(_, one)| title(one)).collect();
            let more = names.len().saturating_sub(TOLD);
            let mut list = names[..names.len() - more].join(", ");
            if more > 0 {
                let _ = write!(list, ", and {more} more");
            }
            text.push('\n');
            for (index, row) in changes::wrapped(&list, WIDTH - 12).iter().enumerate() {
                let lead = if index == 0 { "cached" } else { "" };
                let _ = writeln!(text, "  {lead:7} {row}");
            }
        }
        text.push_str(&again);
        text
    }

    /// What is there and built again, in lines; nothing if nothing is.
    fn again(&self) -> String {
        let again = self.there.iter().filter(|(id, _)| self.again.contains(id));
        let names: Vec<String> = again.map(|(_, package)| title(package)).collect();
        let rows = changes::wrapped(&names.join(", "), WIDTH - 12).into_iter().enumerate();
        let lead = |index| if index == 0 { "again" } else { "" };
        let rows = rows.map(|(index, row)| format!("  {:7} {row}\n", lead(index)));
        if names.is_empty() { String::new() } else { rows.collect::<String>() + AGAIN }
    }

    /// How long it takes, in a line.
    fn time(&self) -> String {
        let unknown = self.steps.iter().filter(|step| step.known.is_none()).count();
        let with = count(self.jobs, "job");
        let perhaps = self.steps.iter().filter(|one| one.stale.outlook == Outlook::Perhaps).count();
        let mut text = format!("about {} with {with}", duration(self.most));
        if perhaps > 0 && self.least < self.most {
            let _ = write!(
                text,
                "; {} if the {perhaps} that may stay as they are do",
                duration(self.least)
            );
        }
        if unknown > 0 {
            let minute = duration(plan::UNKNOWN);
            let _ = write!(text, " ({unknown} never timed: {minute} each is assumed)");
        }
        text
    }

    /// How many packages are built for which reason, the most first.
    fn groups(&self) -> Vec<(usize, Told)> {
        let members =
            self.steps.iter().map(|step| ((), step.package.name.as_str(), &step.stale.cause));
        let groups = cause::grouped(members).into_iter();
        groups.map(|(told, members)| (members.len(), told)).collect()
    }

    fn document(&self) -> Value {
        let Prepared { release, graph, .. } = self.prepared;
        let there = self.there.iter().map(|(id, package)| {
            json!({
                "name": package.name.as_str(),
                "version": package.version,
                "derivation": id.to_string(),
                "status": "cached",
                "again": self.again.contains(id),
                "why": "",
                "causes": [],
                "waits_for": [],
            })
        });
        let steps = self.steps.iter().enumerate().map(|(place, step)| step.document(place));
        let groups = self.groups().into_iter();
        json!({
            "release": release.document(graph),
            "packages": there.chain(steps).collect::<Vec<_>>(),
            "causes": groups
                .map(|(number, told)| {
                    json!({ "cause": told.text, "place": told.place, "packages": number })
                })
                .collect::<Vec<_>>(),
            "milliseconds": milliseconds(self.most),
            "milliseconds_least": milliseconds(self.least),
        })
    }
}

impl Step<'_> {
    fn write(&self, width: usize, text: &mut String) {
        let time = match self.known {
            Some(known) => duration(known),
            None => "?".to_owned(),
        };
        let mut notes = Vec::new();
        if !self.after.is_empty() {
            notes.push(format!("after {}", cause::few(self.after.iter().copied())));
        }
        let begins = self.times.start;
        if begins > Duration::ZERO {
            notes.push(format!("begins in {}", duration(begins)));
        }
        let head = format!("  build   {:width$}  {time:>8}   ", title(self.package));
        let _ = writeln!(text, "{}", format!("{head}{}", notes.join(", ")).trim_end());
        let mut lines = cause::brief(&self.stale.cause, self.package.name.as_str());
        if self.stale.outlook == Outlook::Perhaps {
            let needs = cause::few(self.after.iter().copied());
            let needs = if needs.is_empty() { "what it needs".to_owned() } else { needs };
            lines.push(format!("may stay cached if the packages of {needs} come out the same"));
        }
        for line in lines {
            for (index, row) in changes::wrapped(&line, WIDTH - 12).iter().enumerate() {
                let indent = if index == 0 { 10 } else { 12 };
                let _ = writeln!(text, "{:indent$}{row}", "");
            }
        }
    }

    fn document(&self, place: usize) -> Value {
        let Self { id, package, stale, times, known, after } = self;
        let reason = Reason::of(&stale.cause);
        let name = package.name.as_str();
        json!({
            "name": name,
            "version": package.version,
            "derivation": id.to_string(),
            "status": "build",
            "sure": stale.outlook == Outlook::Build,
            "why": reason.told([(name, &stale.cause)].into_iter()).line(),
            "causes": cause::documents(&stale.cause, name),
            "waits_for": after,
            "order": place,
            "starts": milliseconds(times.start),
            "ends": milliseconds(times.end),
            "milliseconds": known.map(milliseconds),
        })
    }
}

fn title(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

fn end(times: &[Foreseen]) -> Duration {
    times.iter().map(|one| one.end).max().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
