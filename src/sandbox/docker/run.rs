//! One run, from the request to its outcome.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::carry::Carried;
use super::container;
use super::engine::Engine;
use super::places::Places;
use super::site::Site;
use super::{Docker, cancelled, wall};
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
    let tool = docker.tool(engine, &met)?;
    let site = Site { docker, engine, met: &met, tool: &tool, limits: &request.limits };
    let mut begin = || match site.shares_files()? {
        true => {
            let places = Places::shared(&mut order, &met.facts)?;
            let container = site.container(&places)?;
            let stream = container.start()?;
            Ok((places, None, container, stream))
        }
        false => {
            let (places, mut carried) = Carried::prepare(&site, request, &mut order, cancel)?;
            let container = site.container(&places)?;
            let stream = carried.start(&site, &container, cancel)?;
            Ok((places, Some(carried), container, stream))
        }
    };
    // In this order: a volume goes after what has it.
    let (places, carried, container, stream) = match begin() {
        // Sending may take long.
        Err(_) if cancel.load(Ordering::Relaxed) => return Ok(cancelled()),
        begun => begun?,
    };
    let greeted = Afar::greet(stream, &order);
    let afar = match greeted {
        Ok(afar) => afar,
        Err(error) => {
            let state = container.inspect().ok().and_then(|inspected| inspected.state);
            return Err(container::lost(state.as_ref(), &error.to_string()));
        }
    };
    let outer =
        wall::confirm(engine, &met.facts, &container.inspect()?, &afar.hello, &places.mounts)?;
    if docker.enforcement == Enforcement::ControlGroup {
        wall::limited(&outer)?;
    }
    let ended = afar.follow(request, log, cancel, || container.kill())?;
    let (mut outcome, last_words) = match ended {
        Ended::Whole(outcome) => (outcome, None),
        Ended::Broken(outcome, words) => (outcome, Some(words)),
        Ended::Silent => {
            let why = ": neither its container nor the engine says anything";
            return Err(Error::Lost(why.to_owned()));
        }
    };
    let state = container.end();
    if let Some(words) = last_words {
        let state = state.as_ref().map_err(|_| container::lost(None, &words))?;
        if !container::out_of_memory(state) {
            return Err(container::lost(Some(state), &words));
        }
    }
    if let Ok(state) = &state
        && container::out_of_memory(state)
        && matches!(outcome.verdict, Verdict::Failed(_) | Verdict::Signalled(_))
    {
        outcome.verdict = Verdict::OutOfMemory;
    }
    let Receipt(inner) = &mut outcome.receipt;
    inner.extend(outer);
    let files = if carried.is_some() { "sent" } else { "mounted" };
    inner.insert("outer files".to_owned(), files.to_owned());
    // Its result is whole whether the engine removes it now or the next run does.
    if let Err(error) = container.remove() {
        (docker.notice)(&format!("{error}; the next run tries again"));
    }
    if let Some(carried) = carried {
        carried.bring_back(&site, &mut outcome, cancel)?;
    }
    Ok(*outcome)
}
