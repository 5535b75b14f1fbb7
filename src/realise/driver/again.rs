//! Packages that are built again, each from its recorded inputs: they wait for nothing.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use super::{Goal, Options, Run};
use crate::base::DerivationId;
use crate::plan::{self, Finish, NodeId, Plan};
use crate::realise::again::{Failed, Repeat};
use crate::realise::error::Result;
use crate::realise::event::{Event, Fault, Finished, Planned};
use crate::realise::package;
use crate::realise::record::Record;

/// What is done with each package, on a thread of its own.
pub type Work<'a, T> = &'a (dyn Fn(&Repeat<'_>) -> Result<T, Failed> + Sync);

/// Takes what came of a package, as it comes.
pub type Take<'a, T> = &'a mut dyn FnMut(DerivationId, &Arc<Record>, Result<T, Failed>);

/// Hands each package that is wanted of a release, and there, to `work`, which builds it again,
/// and what comes of that to `take`; not what was called off or never begun. An error means that
/// nothing could be begun.
pub fn again<T: Send>(
    goal: &Goal<'_>,
    options: &Options,
    tell: &(dyn Fn(Event) + Sync),
    work: Work<'_, T>,
    take: Take<'_, T>,
) -> Result<()> {
    let mut run = Run::new(std::slice::from_ref(goal), options, &BTreeSet::new(), &|_| {})?;
    run.take_what_is_there();
    run.tell = tell;
    run.plan_again();
    tell(Event::Planned { packages: run.planned_again() });
    thread::scope(|scope| {
        let (results, inbox) = mpsc::channel();
        loop {
            for id in run.plan.next() {
                let job = run.start(id);
                let record = Arc::clone(run.record(id));
                let results = results.clone();
                scope.spawn(move || {
                    let repeat = Repeat::new(&job, &record);
                    let result = catch_unwind(AssertUnwindSafe(|| work(&repeat)));
                    let result = result.unwrap_or_else(|_| {
                        Err(Failed { failure: package::defect(&job.package.name), log: None })
                    });
                    // The loop waits for every job it started.
                    let _ = results.send((id, result));
                });
            }
            if run.plan.done() {
                break;
            }
            tell(Event::Remaining { time: run.remaining() });
            let (id, result) = inbox.recv().expect("a plan that is not done has something running");
            run.take_again(id, &result);
            if !result.as_ref().is_err_and(|failed| failed.failure.fault == Fault::Cancelled) {
                take(run.packages[id.0].node.id, run.record(id), result);
            }
            if goal.world.cancel.load(Ordering::Relaxed) {
                run.plan.stop();
            }
        }
    });
    Ok(())
}

impl Run<'_> {
    /// What is planned, as it is told.
    fn planned_again(&self) -> Vec<Planned> {
        let is_planned = |number: &usize| {
            !matches!(self.plan.state(NodeId(*number)), Some(plan::State::Finished(_)))
        };
        let numbers = (0..self.packages.len()).filter(is_planned);
        numbers
            .map(|number| Planned {
                package: Arc::clone(&self.subjects[number]),
                needs: Vec::new(),
            })
            .collect()
    }

    /// Plans what is wanted and there.
    fn plan_again(&mut self) {
        let nodes = self.packages.iter().enumerate().map(|(number, entry)| plan::Node {
            needs: Vec::new(),
            estimate: Some(self.plan.estimate(NodeId(number))),
            memory: entry.resources().memory.unwrap_or(0),
            cores: entry.resources().cores.and_then(|cores| NonZeroUsize::new(cores as usize)),
            group: entry.goal,
        });
        let limits = plan::Limits {
            jobs: self.options.jobs,
            memory: Some(self.options.allowance.machine_memory),
            cores: NonZeroUsize::new(self.options.allowance.cores.len())
                .unwrap_or(NonZeroUsize::MIN),
        };
        self.plan = Plan::new(nodes.collect(), limits, self.options.on_failure)
            .expect("its nodes need nothing");
        for (number, entry) in self.packages.iter().enumerate() {
            let is_wanted = self.goals[entry.goal].wanted.contains(&entry.node.id);
            if !is_wanted || entry.done.is_none() {
                self.plan.finish(NodeId(number), Finish::Cached);
            }
        }
    }

    fn record(&self, id: NodeId) -> &Arc<Record> {
        let done = self.packages[id.0].done.as_ref();
        &done.expect("only what is there is planned").record
    }

    /// Takes note of what came of a package, and tells of it.
    fn take_again<T>(&mut self, id: NodeId, result: &Result<T, Failed>) {
        self.running.remove(&id);
        let action = self.record(id).action;
        let entry = &mut self.packages[id.0];
        entry.elapsed = entry.began.map(|began| began.elapsed()).unwrap_or_default();
        let (finish, result) = match result {
            Ok(_) => (Finish::Built, Finished::Built { action }),
            Err(Failed { failure, .. }) => {
                let cancelled = failure.fault == Fault::Cancelled;
                let finish = if cancelled { Finish::Cancelled } else { Finish::Failed };
                (finish, Finished::Failed(failure.clone()))
            }
        };
        self.plan.finish(id, finish);
        (self.tell)(Event::Finished {
            package: Arc::clone(&self.subjects[id.0]),
            result,
            elapsed: entry.elapsed,
        });
    }
}
