//! One run, from the request to its outcome.

use std::io::Write;
use std::sync::atomic::AtomicBool;

use super::container::{self, Container, Plan};
use super::engine::Engine;
use super::places::Places;
use super::{Docker, marks};
use crate::sandbox::native::{self, Afar, Ended, Session};
use crate::sandbox::{Enforcement, Error, Outcome, Receipt, Request, Result, Verdict};

/// Runs a request in a container of this engine.
pub fn run(
    docker: &Docker,
    engine: &Engine,
    request: &Request,
    session: Option<Session>,
    log: &mut dyn Write,
    cancel: &AtomicBool,
) -> Result<Outcome> {
    let met = engine.meet()?;
    let mut order = native::order_afar(request, session)?;
    native::hand_over(&order)?;
    let places = Places::shared(&mut order, &met.facts)?;
    let tool = docker.tool(engine, &met)?;
    let plan = Plan {
        image: &tool.image,
        profile: &tool.profile,
        places: &places,
        limits: &request.limits,
        labels: docker.marks()?.labels(marks::CONTAINER),
        argument: native::RELAY,
    };
    let container = Container::make(engine, &met, plan).inspect_err(|_| engine.forget())?;
    let stream = container.start()?;
    let greeted = Afar::greet(stream, &order);
    let afar = match greeted {
        Ok(afar) => afar,
        Err(error) => {
            let state = container.inspect().ok().and_then(|inspected| inspected.state);
            return Err(container::lost(state.as_ref(), &error.to_string()));
        }
    };
    let outer =
        container::confirm(engine, &met.facts, &container.inspect()?, &afar.hello, &places.mounts)?;
    if docker.enforcement == Enforcement::ControlGroup {
        container::limited(&outer)?;
    }
    let ended = afar.follow(request, log, cancel, || container.kill())?;
    let state = container.end();
    let mut outcome = match (ended, &state) {
        (Ended::Whole(outcome), _) => outcome,
        (Ended::Broken(outcome, _), Ok(state)) if container::out_of_memory(state) => outcome,
        (Ended::Broken(_, words), Ok(state)) => return Err(container::lost(Some(state), &words)),
        (Ended::Broken(..), Err(_)) => {
            return Err(state.err().unwrap_or_else(|| Error::Lost(String::new())));
        }
    };
    if let Ok(state) = &state
        && container::out_of_memory(state)
        && matches!(outcome.verdict, Verdict::Failed(_) | Verdict::Signalled(_))
    {
        outcome.verdict = Verdict::OutOfMemory;
    }
    let Receipt(inner) = &mut outcome.receipt;
    inner.extend(outer);
    // Its result is whole whether the engine removes it now or the next run does.
    if let Err(error) = container.remove() {
        (docker.notice)(&format!("{error}; the next run tries again"));
    }
    Ok(*outcome)
}
