//! Traces: the context that comes and goes with requests (W3C Trace Context), and what happens to a message long after it was
//! answered. A span's fields are words and numbers of this program; nothing that came from outside becomes one.

use crate::limits::MAX_TRACED;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use warp::http::{HeaderMap, HeaderName};

/// What names a trace. Its companion `tracestate` holds whatever its sender likes, and is neither kept nor passed on.
const TRACEPARENT: &str = "traceparent";

/// Makes a span part of the trace that the request names, if it names one.
pub fn continues(span: &Span, headers: &HeaderMap) {
    let named = headers.get(TRACEPARENT).map(|value| (HeaderName::from_static(TRACEPARENT), value.clone()));
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(&named.into_iter().collect()));
    if context.span().span_context().is_valid() {
        // It fails where no spans are sent: then nobody asks for it.
        _ = span.set_parent(context);
    }
}

/// Names the present trace to who is asked next.
pub fn goes_on(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeaderInjector(headers));
}

/// Messages that were acknowledged and are not anchored yet: their traces end with the anchor. Bounded: beyond that a trace ends
/// with its commit.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    committed: VecDeque<Later>,
    /// With the size of the log that holds what they stand for.
    logged: VecDeque<(u64, Later)>,
}

/// A span that ends long after the one that it belongs to, and the trace of both.
#[derive(Debug)]
pub struct Later {
    of: Context,
    #[expect(dead_code, reason = "it ends when it is dropped")]
    span: Span,
}

/// A span of the trace, but not held by the one that it belongs to, which would not end before it.
macro_rules! later {
    ($of:expr, $name:literal) => {{
        let (of, span) = ($of, tracing::info_span!(parent: None, $name));
        _ = span.set_parent(of.clone());
        Later { of, span }
    }};
}

impl Traces {
    /// What belongs to this span waits for the log.
    pub fn committed(&self, span: &Span) {
        let of = span.context();
        let mut open = self.lock();
        if of.span().span_context().is_sampled() && open.len() < MAX_TRACED {
            open.committed.push_back(later!(of, "log"));
        }
    }

    /// All that waits for the log now: what of them is committed is in it after the next round.
    pub fn waiting(&self) -> VecDeque<Later> {
        std::mem::take(&mut self.lock().committed)
    }

    /// They did not come into the log.
    pub fn put_back(&self, waiting: VecDeque<Later>) {
        let mut open = self.lock();
        let since = std::mem::replace(&mut open.committed, waiting);
        open.committed.extend(since);
    }

    /// They stand in the log, which has this size now.
    pub fn logged(&self, waiting: VecDeque<Later>, size: u64) {
        let anchors = waiting.into_iter().map(|later| (size, later!(later.of, "anchor")));
        self.lock().logged.extend(anchors);
    }

    /// The log is anchored up to this size.
    pub fn anchored(&self, size: u64) {
        self.lock().logged.retain(|(logged, _)| *logged > size);
    }

    /// Whether something waits for an anchor.
    pub fn awaits_anchor(&self) -> bool {
        !self.lock().logged.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn len(&self) -> usize {
        self.committed.len() + self.logged.len()
    }
}
