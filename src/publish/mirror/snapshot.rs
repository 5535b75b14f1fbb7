//! Snapshots of a mirror: which of them go.

use std::path::Path;

/// The folder of all of them.
pub const SNAPSHOTS: &str = "snapshots";
/// The link to the newest.
pub const LATEST: &str = "latest";

const DAY: i64 = 86_400;

/// The name of the snapshot that the target of a link leads to or into, if it does.
pub fn led_to(target: &str) -> Option<&str> {
    let mut parts = target.split('/').skip_while(|part| *part != SNAPSHOTS);
    parts.next()?;
    parts.next().filter(|name| !name.is_empty())
}

/// The snapshots that are older than `days` and that no link names; `links` are the targets of
/// all links beside them. What is not called `NAME-TIME` is none of ours.
pub fn unneeded(names: &[String], links: &[String], days: u32, now: i64) -> Vec<String> {
    let since = now.saturating_sub(i64::from(days).saturating_mul(DAY));
    let is_used =
        |name: &str| links.iter().any(|target| Path::new(target).iter().any(|part| *part == *name));
    let is_old = |name: &str| made(name).is_some_and(|time| time < since);
    let mut gone: Vec<String> =
        names.iter().filter(|name| is_old(name) && !is_used(name)).cloned().collect();
    gone.sort();
    gone
}

/// When a snapshot's generation was made, as its name says.
fn made(name: &str) -> Option<i64> {
    let (_, time) = name.rsplit_once('-')?;
    let time = time.strip_suffix('Z').filter(|digits| digits.len() == 15)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_and_not_led_to_goes() {
        let names = ["demo-20260101T000000Z", "demo-20260102T000000Z", "demo-20260110T000000Z"];
        let others = ["demo", "lost+found", "demo-20260101", "x-20269999T000000Z"];
        let names: Vec<String> = names.iter().chain(&others).map(|name| name.to_string()).collect();
        let now = made("now-20260111T000000Z").expect("a time");
        let links = ["snapshots/demo-20260102T000000Z/dists".to_owned(), "elsewhere".to_owned()];
        assert_eq!(unneeded(&names, &links, 5, now), ["demo-20260101T000000Z"]);
        assert_eq!(unneeded(&names, &links, 10, now), Vec::<String>::new());
    }

    #[test]
    fn a_link_leads_into_a_snapshot_wherever_it_lies() {
        for (target, expected) in [
            ("snapshots/a-1", Some("a-1")),
            ("../snapshots/a-1/", Some("a-1")),
            ("/srv/mirror/snapshots/a-1/dists", Some("a-1")),
            ("generations/1", None),
            ("snapshots/", None),
        ] {
            assert_eq!(led_to(target), expected, "{target}");
        }
    }
}
