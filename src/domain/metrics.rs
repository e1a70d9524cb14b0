//! Metrics for `/metrics`: names, labels and values, without a format (contract 10).

use std::borrow::Cow;

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only rises while the process lives; its name ends in `_total`.
    Counter,
}

/// Observations in buckets, each bucket holding what is not above its bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spread {
    /// Upper bounds and the observations up to each, rising.
    pub buckets: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// One bounded queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueMetric {
    /// As a label.
    pub name: &'static str,
    /// What waits.
    pub waiting: usize,
    /// Its bound; `None` where there is no single one.
    pub bound: Option<usize>,
}

impl QueueMetric {
    /// A queue with a bound.
    pub fn bounded(name: &'static str, waiting: usize, bound: usize) -> Self {
        Self {
            name,
            waiting,
            bound: Some(bound),
        }
    }
}

/// A label's value, and whether lss may show it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelValue {
    /// Of a fixed set that lss itself knows: no secret, whatever it looks like.
    Fixed(Cow<'static, str>),
    /// From outside.
    Foreign(String),
}

impl LabelValue {
    /// A name of lss's own, in lower case.
    pub fn lower(name: &'static str) -> Self {
        Self::Fixed(Cow::Owned(name.to_lowercase()))
    }
}

impl From<&'static str> for LabelValue {
    fn from(name: &'static str) -> Self {
        Self::Fixed(Cow::Borrowed(name))
    }
}

/// Labels by their names.
pub type Labels = Vec<(&'static str, LabelValue)>;

/// One value with its labels.
pub type Sample = (Labels, f64);

/// All values of one name.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// Plain values.
    Values {
        /// By Prometheus' conventions: base units, `lss_` first.
        name: &'static str,
        /// One sentence.
        help: &'static str,
        /// What it does over time.
        kind: MetricKind,
        /// None = the name is left out.
        samples: Vec<Sample>,
    },
    /// A histogram.
    Spread {
        /// As above.
        name: &'static str,
        /// One sentence.
        help: &'static str,
        /// By label.
        spreads: Vec<(Labels, Spread)>,
    },
}

impl Metric {
    pub fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self::Values {
            name,
            help,
            kind: MetricKind::Gauge,
            samples,
        }
    }

    pub fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self::Values {
            name,
            help,
            kind: MetricKind::Counter,
            samples,
        }
    }
}
