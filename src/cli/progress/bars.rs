//! A line for each package that is being worked on and one for the whole, at the end of the
//! terminal; what is done goes above them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::block::{Block, Size};
use super::tally::{Running, Tally};
use super::text::{Line, Style, clean, width};
use super::{Display, STOPPED_NOW, STOPPING, Urgency, clock, end_text, retry_text};
use crate::realise::event::{Event, Finished, Phase, Subject};

/// The most rows that the lines take, however high the terminal.
const ROWS: usize = 20;

/// The most columns, however wide: the eye has to find the end of the line.
const COLUMNS: usize = 120;

/// The most rows that tell what packages wait for.
const WAITING: usize = 3;

/// Below this many columns a line has no room for an indent, versions, and what a phase is at.
const NARROW: usize = 44;

/// How many columns a phase takes.
const PHASE: usize = 10;

/// How many columns a time takes.
const TIME: usize = 7;

/// Shows events as lines that move.
pub struct Bars {
    look: Look,
    tally: Tally,
    block: Block,
    /// What is to be printed above the lines.
    above: Vec<String>,
    /// What is on the terminal now, and how large that is.
    drawn: (Vec<Line>, Option<Size>),
    /// Whether the program was stopped and continued: then others have written on the terminal.
    continued: Arc<AtomicBool>,
    verbose: bool,
}

/// How lines look.
#[derive(Clone, Copy)]
struct Look {
    colour: bool,
    stopping: bool,
}

impl Bars {
    /// In colour or not; if `verbose`, what builds print goes above the lines.
    pub fn new(colour: bool, verbose: bool) -> Self {
        let continued = Arc::new(AtomicBool::new(false));
        // Without it the lines are drawn over what a shell wrote in between: no reason to fail.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGCONT, Arc::clone(&continued));
        Self {
            look: Look { colour, stopping: false },
            tally: Tally::new(Instant::now()),
            block: Block::default(),
            above: Vec::new(),
            drawn: (Vec::new(), None),
            continued,
            verbose,
        }
    }

    fn draw(&mut self, lines: Vec<Line>, size: Size) {
        if self.continued.swap(false, Ordering::Relaxed) {
            self.block.forget();
            self.drawn = (Vec::new(), None);
        }
        let drawn = (lines, Some(size));
        if self.above.is_empty() && self.drawn == drawn {
            return;
        }
        self.block.draw(&mut std::io::stderr().lock(), &self.above, &drawn.0, size);
        self.above.clear();
        self.drawn = drawn;
    }

    /// A line that stays: an end in the colour that it deserves.
    fn ended(&self, title: &str, style: Style, end: &str) -> String {
        let mut line = Line::new(usize::MAX, self.look.colour);
        line.push(Style::Plain, &format!(" {title}   "));
        line.push(style, end);
        line.as_str().to_owned()
    }
}

impl Display for Bars {
    fn take(&mut self, event: Event, now: Instant) {
        self.tally.take(&event, now);
        match event {
            Event::Line { package, text } if self.verbose => {
                self.above.push(format!("{package}| {}", clean(&text)));
            }
            Event::Finished { package, result, elapsed } => {
                let style = match &result {
                    Finished::Built { .. } => Style::Good,
                    Finished::Failed(_) => Style::Bad,
                    Finished::Cached { .. } | Finished::Skipped { .. } => Style::Faint,
                };
                if let Some(end) = end_text(&result, elapsed) {
                    self.above.push(self.ended(&package.title(), style, &end));
                }
            }
            Event::Retry { package, cause, wait, failed, most } => {
                let text = retry_text(&cause, wait, failed, most);
                self.above.push(self.ended(&package.to_string(), Style::Notable, &text));
            }
            _ => {}
        }
    }

    fn note(&mut self, text: &str, _: Instant) {
        self.above.push(clean(text));
    }

    fn tick(&mut self, now: Instant) {
        let size = size();
        self.draw(lines(&self.tally, self.look, size, now), size);
    }

    fn stopping(&mut self) {
        self.look.stopping = true;
        self.above.push(STOPPING.to_owned());
    }

    fn end(&mut self, urgency: Urgency, _: Instant) {
        match urgency {
            Urgency::None => {}
            Urgency::Soon => self.above.push(self.tally.kept()),
            Urgency::Now => self.above.push(STOPPED_NOW.to_owned()),
        }
        self.draw(Vec::new(), size());
    }
}

/// The size of the terminal now.
fn size() -> Size {
    let (rows, columns) = console::Term::stderr().size_checked().unwrap_or((24, 80));
    Size { columns: usize::from(columns), rows: usize::from(rows) }
}

/// Everything there is to see: never higher than the terminal, and narrower.
fn lines(tally: &Tally, look: Look, size: Size, now: Instant) -> Vec<Line> {
    let room = size.columns.saturating_sub(1).min(COLUMNS);
    let rows = size.rows.saturating_sub(1).clamp(1, ROWS);
    let shown = match rows - 1 {
        fit if fit >= tally.running.len() => tally.running.len(),
        // One row says how many more there are.
        fit => fit.saturating_sub(1),
    };
    let (running, folded) = tally.running.split_at(shown);
    // Where there is room, and never so many that they hide what is being done.
    let most = if look.stopping { 0 } else { WAITING };
    let rest = (rows - 1).saturating_sub(tally.running.len()).min(most);
    let waiting: Vec<(&Subject, Vec<&Subject>)> = tally.waiting().take(rest).collect();
    let titles: Vec<String> = running.iter().map(|one| title(&one.package, room)).collect();
    let waits: Vec<String> = waiting.iter().map(|(one, _)| title(one, room)).collect();
    let widest = titles.iter().chain(&waits).map(|title| width(title)).max().unwrap_or(0);
    let mut lines: Vec<Line> = running
        .iter()
        .zip(&titles)
        .map(|(one, title)| {
            let elapsed = clock(now.saturating_duration_since(one.began));
            let row = Row { title, phase: phase(one), elapsed };
            row.line(widest, Line::new(room, look.colour), room)
        })
        .collect();
    lines.extend(waiting.iter().zip(&waits).map(|((_, needs), title)| {
        let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
        let row = Row { title, phase: ("waits for", needs.join(", ")), elapsed: String::new() };
        row.line(widest, Line::new(room, look.colour), room)
    }));
    if !folded.is_empty() && rows > 1 {
        let mut line = Line::new(room, look.colour);
        line.push(Style::Faint, &format!("{}… {} more", indent(room), folded.len()));
        lines.push(line);
    }
    lines.push(overall(tally, look, room, now));
    lines
}

fn indent(room: usize) -> &'static str {
    if room < NARROW { "" } else { "  " }
}

fn title(package: &Subject, room: usize) -> String {
    match room {
        0..NARROW => package.to_string(),
        _ => clean(&package.title()),
    }
}

/// The line of a package: what it is at, and for how long.
struct Row<'a> {
    title: &'a str,
    phase: (&'static str, String),
    elapsed: String,
}

impl Row<'_> {
    fn line(self, widest: usize, mut line: Line, room: usize) -> Line {
        let indent = indent(room);
        let Self { title, phase: (phase, detail), elapsed } = self;
        let end = room.saturating_sub(TIME.max(width(&elapsed)));
        // On a narrow terminal the time is worth more than the rest of a long name.
        let most = if room < NARROW { room.saturating_sub(TIME + 1) } else { room * 2 / 5 };
        let titles = widest.min(most);
        let mut part = |style, text: &str, column: usize| {
            let room = column.saturating_sub(line.width());
            line.push(style, &super::text::clip(text, room));
            line.pad(column);
        };
        part(Style::Plain, indent, indent.len());
        part(Style::Plain, title, indent.len() + titles);
        let begin = indent.len() + titles + 2;
        if begin + PHASE < end {
            part(Style::Plain, "", begin);
            part(Style::Doing, phase, begin + PHASE);
        }
        let begin = begin + PHASE + 2;
        if begin + 8 < end {
            part(Style::Plain, "", begin);
            line.push(Style::Faint, &super::text::clip(&detail, end - 1 - begin));
        }
        if !elapsed.is_empty() {
            line.pad(room.saturating_sub(width(&elapsed)));
            line.push(Style::Plain, &elapsed);
        }
        line
    }
}

/// What a package is at: the kind of it, and how far or with what.
fn phase(running: &Running) -> (&'static str, String) {
    match &running.phase {
        None if running.tried => ("try again", "soon".to_owned()),
        None => ("begins", String::new()),
        Some(Phase::Solve) => ("solve", String::new()),
        Some(Phase::Fetch { done, total }) => ("fetch", format!("{done}/{total} files")),
        Some(Phase::Wait) => ("waits", "for what another build makes".to_owned()),
        // A step that does not count stays at none of them.
        Some(Phase::Root { step, done, total }) if *total > 0 && *done > 0 => {
            ("build root", format!("{step} {done}/{total}"))
        }
        Some(Phase::Root { step, .. }) => ("build root", (*step).to_owned()),
        Some(Phase::Build) => ("build", clean(&running.last).trim().to_owned()),
        Some(Phase::Keep) => ("store", String::new()),
    }
}

/// The line of the whole. What does not fit is left out, the least telling first.
fn overall(tally: &Tally, look: Look, room: usize, now: Instant) -> Line {
    let done = tally.done();
    let mut parts = vec![(0, Style::Plain, format!("{done}/{}", tally.total))];
    let mut part = |weight, style, number: usize, word: &str| {
        if number > 0 {
            parts.push((weight, style, format!("{number} {word}")));
        }
    };
    part(3, Style::Doing, tally.running.len(), "running");
    part(5, Style::Plain, tally.cached, "cached");
    part(2, Style::Bad, tally.failed, "failed");
    part(6, Style::Faint, tally.skipped, "skipped");
    if look.stopping {
        parts.push((1, Style::Notable, "stopping".to_owned()));
    } else if let Some(left) = tally.remaining(now) {
        parts.push((4, Style::Plain, format!("about {} left", clock(left))));
    }
    parts.push((7, Style::Faint, clock(now.saturating_duration_since(tally.began))));

    let cells = match room {
        0..NARROW => 0,
        NARROW..70 => 12,
        _ => 24,
    };
    let bar = if cells == 0 { 0 } else { cells + 2 };
    let needed = |parts: &[(u8, Style, String)]| {
        let widths: usize = parts.iter().map(|(_, _, text)| width(text)).sum();
        bar + widths + 3 * parts.len().saturating_sub(1)
    };
    while parts.len() > 1 && needed(&parts) > room {
        let least = (0..parts.len()).max_by_key(|place| parts[*place].0);
        parts.remove(least.expect("there are parts"));
    }
    let mut line = Line::new(room, look.colour);
    if cells > 0 {
        let halves = (2 * cells * done).checked_div(tally.total).unwrap_or(0).min(2 * cells);
        let (full, half) = (halves / 2, halves % 2);
        line.push(Style::Plain, " ");
        line.push(Style::Good, &format!("{}{}", "█".repeat(full), "▌".repeat(half)));
        line.push(Style::Faint, &"░".repeat(cells - full - half));
        line.push(Style::Plain, " ");
    }
    for (number, (_, style, text)) in parts.iter().enumerate() {
        if number > 0 {
            line.push(Style::Faint, " · ");
        }
        line.push(*style, text);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tally::tests::{planned, subject};
    use super::*;

    /// Twelve packages, eight of them running, after nearly two minutes.
    fn busy() -> (Tally, Instant) {
        let begun = Instant::now();
        let mut tally = Tally::new(begun);
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut take = |event, seconds| tally.take(&event, at(seconds));
        let [done, last] = ["done1", "last"].map(|name| subject(name, "1"));
        let g5 = subject("g5", "2.9.14+dfsg-1.3~deb12u6");
        let mut packages: Vec<_> =
            (0..10).map(|n| planned(&subject(&format!("n{n}"), "1"), &[])).collect();
        packages.push(planned(&g5, &[]));
        packages.push(planned(&last, &[&done, &g5]));
        take(Event::Planned { packages }, 0);
        let lasts = [
            "checking for stdlib.h... yes",
            "字幕を書く字幕を書く字幕を書く字幕を書く字幕を書く字幕を書く字幕を書く字幕を書く",
            "gcc -DHAVE_CONFIG_H -I. -I./include -g -O2 -ffile-prefix-map=/build/reproducible-path \
             -fstack-protector-strong -Wformat -c -o parser.o parser.c",
        ];
        for (place, name) in
            ["libxml2", "catdoc", "libxslt", "g1", "g2", "g3", "g4", "g5"].into_iter().enumerate()
        {
            let package = subject(name, "2.9.14+dfsg-1.3~deb12u6");
            take(Event::Started { package: Arc::clone(&package) }, place as u64);
            let phase = match place {
                0..3 => Phase::Build,
                3 => Phase::Root { step: "unpack", done: 33, total: 165 },
                _ => Phase::Fetch { done: 3, total: 12 },
            };
            take(Event::Phase { package: Arc::clone(&package), phase }, 2);
            if let Some(text) = lasts.get(place) {
                take(Event::Line { package, text: (*text).to_owned() }, 3);
            }
        }
        for name in ["done1", "done2"] {
            let (package, result) = (subject(name, "1"), Finished::Skipped { because: None });
            take(Event::Finished { package, result, elapsed: Duration::ZERO }, 4);
        }
        take(Event::Remaining { time: Some(Duration::from_secs(180)) }, 5);
        (tally, at(115))
    }

    fn shown(columns: usize, rows: usize) -> Vec<String> {
        let (tally, now) = busy();
        let look = Look { colour: false, stopping: false };
        let lines = lines(&tally, look, Size { columns, rows }, now);
        lines.iter().map(|line| line.as_str().to_owned()).collect()
    }

    #[test]
    fn what_is_seen_fits_every_terminal() {
        let (tally, now) = busy();
        for (columns, rows) in (0..140).flat_map(|columns| [(columns, 5), (columns, 24)]) {
            let look = Look { colour: true, stopping: columns % 2 == 0 };
            let lines = lines(&tally, look, Size { columns, rows }, now);
            assert!(lines.len() < rows, "{columns}x{rows}");
            for line in &lines {
                assert!(line.width() < columns.max(1), "{columns}x{rows}: {line:?}");
            }
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let expected = [
            "  libxml2 2.9.14+dfsg-1.3~deb12u6  build       checking for stdlib.h... yes                  1m 55s",
            "  catdoc 2.9.14+dfsg-1.3~deb12u6   build       字幕を書く字幕を書く字幕を書く字幕を書く字…   1m 54s",
            "  libxslt 2.9.14+dfsg-1.3~deb12u6  build       gcc -DHAVE_CONFIG_H -I. -I./include -g -O2 …  1m 53s",
            "  g1 2.9.14+dfsg-1.3~deb12u6       build root  unpack 33/165                                 1m 52s",
            "  g2 2.9.14+dfsg-1.3~deb12u6       fetch       3/12 files                                    1m 51s",
            "  g3 2.9.14+dfsg-1.3~deb12u6       fetch       3/12 files                                    1m 50s",
            "  g4 2.9.14+dfsg-1.3~deb12u6       fetch       3/12 files                                    1m 49s",
            "  g5 2.9.14+dfsg-1.3~deb12u6       fetch       3/12 files                                    1m 48s",
            "  last 1                           waits for   g5",
            " ████░░░░░░░░░░░░░░░░░░░░ 2/12 · 8 running · 2 skipped · about 1m 10s left · 1m 55s",
        ];
        assert_eq!(shown(100, 24), expected);
    }

    #[test]
    fn a_low_terminal_folds_what_does_not_fit() {
        let expected = [
            "  libxml2 2.9.14+dfsg-1.…  build       checking fo…  1m 55s",
            "  catdoc 2.9.14+dfsg-1.3…  build       字幕を書く…   1m 54s",
            "  libxslt 2.9.14+dfsg-1.…  build       gcc -DHAVE_…  1m 53s",
            "  … 5 more",
            " ██░░░░░░░░░░ 2/12 · 8 running · about 1m 10s left",
        ];
        assert_eq!(shown(60, 6), expected);
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        let expected =
            ["libxml2      1m 55s", "catdoc       1m 54s", "… 6 more", "2/12 · 8 running"];
        assert_eq!(shown(20, 5), expected);
    }
}
