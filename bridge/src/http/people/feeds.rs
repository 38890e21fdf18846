//! The administrator's page of feeds: what each sends, and what becomes of it. Counts of this process; no patient data.

use super::frame::Frame;
use super::page;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use crate::app::App;
use crate::feeds::Feed;
use crate::feeds::meter::{Counts, MINUTES, Reading};
use crate::http::reply::{Reply, with_header};
use crate::http::routes::Request;
use crate::people::Role;
use maud::{Markup, html};
use std::sync::Arc;
use warp::http::{StatusCode, header};

const FEEDS: &str = "/me/feeds";
/// Seconds after which a browser looks again.
const AGAIN: &str = "30";
/// The picture's, in its own units.
const BAR: usize = 6;
const HEIGHT: u64 = 72;
/// Messages in quarantine are counted so far.
const MANY: usize = 1_000;

/// `GET /me/feeds`.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let waiting = super::at_desk(app, |desk| Ok(desk.store.held_count(MANY)?)).await?;
    Ok(with_header(page(StatusCode::OK, &shown(&visit, waiting)), header::REFRESH, AGAIN))
}

fn shown(visit: &Visit<'_>, waiting: usize) -> Markup {
    let now = visit.app.core.clock.now().as_millisecond();
    let feeds = visit.app.core.feeds();
    let read: Vec<(&Arc<Feed>, Reading)> = feeds.all().map(|feed| (feed, feed.meter.read(now))).collect();
    let waiting = if waiting == MANY { format!("{MANY} or more") } else { waiting.to_string() };
    let content = html! {
        p.lead { "What came in by each feed since this process was started, as of " (time(now)) ". "
            @if let Some(replica) = visit.app.replica() {
                "This is the replica " (replica) ": each counts its own, and the dashboard sums them. "
            }
            a href=(visit.site.path(FEEDS)) { "Look again" } }
        p { a href=(visit.site.path("/me/quarantine")) { "In quarantine: " (waiting) } }
        section.panel aria-labelledby="feeds-title" {
            h2 #feeds-title { "Feeds" }
            div.table tabindex="0" role="region" aria-labelledby="feeds-title" {
                table {
                    thead { tr {
                        th scope="col" { "Feed" } th.number scope="col" { "Connections" } th.number scope="col" { "Accepted" }
                        th.number scope="col" { "Quarantined" } th.number scope="col" { "Refused" } th.number scope="col" { "Failed" }
                        th.number scope="col" { "Not accepted, last hour" } th scope="col" { "Last message" }
                    } }
                    tbody { @for (feed, reading) in &read { (row(feed, reading)) } }
                }
            }
        }
        section.panel aria-labelledby="charts-title" {
            h2 #charts-title { "Messages a minute, the last hour" }
            div.charts { @for (feed, reading) in &read { (chart(&feed.name, &reading.minutes)) } }
        }
    };
    let title = "Feeds";
    Frame { site: &visit.site, title, here: FEEDS, script: false, role: Some(Role::Administrator) }.around(&content)
}

fn row(feed: &Feed, reading: &Reading) -> Markup {
    let Counts { accepted, quarantined, refused, failed } = reading.total;
    let errors = Counts::sum(&reading.minutes).errors_in_thousand();
    html! {
        tr {
            td { (feed.name) @if feed.has_quarantine() { span.hint { " keeps what is faulty" } } }
            td.number { (reading.connections) } td.number { (accepted) } td.number { (quarantined) }
            td.number { (refused) } td.number { (failed) }
            td.number { (errors / 10) "." (errors % 10) " %" }
            td.time { @if let Some(last) = reading.last { (time(last)) } @else { "none yet" } }
        }
    }
}

/// A bar a minute: what was not accepted stands on what was.
fn chart(name: &str, minutes: &[Counts]) -> Markup {
    let most = minutes.iter().map(Counts::all).max().unwrap_or(0);
    let sum = |count: fn(&Counts) -> u64| minutes.iter().map(count).sum::<u64>();
    let (all, accepted) = (sum(Counts::all), sum(|minute| minute.accepted));
    let label =
        format!("{name}: {all} messages in the last hour, at most {most} in a minute, {} not accepted", all - accepted);
    let height = |count: u64| (count * HEIGHT).div_ceil(most.max(1));
    html! {
        figure {
            figcaption { (name) }
            svg viewBox=(format!("0 0 {} {}", BAR * MINUTES, HEIGHT + 14)) role="img" aria-label=(label) {
                line x1="0" x2=(BAR * MINUTES) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (n, minute) in minutes.iter().enumerate().filter(|(_, minute)| minute.all() > 0) {
                    @let (all, accepted) = (height(minute.all()), height(minute.accepted));
                    rect.all x=(n * BAR) y=(HEIGHT - all) width=(BAR - 1) height=(all) {}
                    rect.accepted x=(n * BAR) y=(HEIGHT - accepted) width=(BAR - 1) height=(accepted) {}
                }
                text x="0" y=(HEIGHT + 12) { "an hour ago" }
                text x=(BAR * MINUTES) y=(HEIGHT + 12) text-anchor="end" { "now" }
            }
            p.hint { (all) " in all, at most " (most) " a minute, " (all - accepted) " not accepted" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fit_the_picture_and_the_label_says_the_same() {
        let mut minutes = vec![Counts::default(); MINUTES];
        minutes[0].accepted = 4;
        minutes[59] = Counts { accepted: 1, refused: 1, ..Counts::default() };
        let drawn = chart("<lab>", &minutes).into_string();
        assert!(drawn.contains("6 messages in the last hour, at most 4 in a minute, 1 not accepted"), "{drawn}");
        assert!(drawn.contains("height=\"72\"") && drawn.contains("x=\"354\"") && !drawn.contains("<lab>"), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), 4);
        assert!(!chart("a", &[]).into_string().contains("rect"));
    }
}
