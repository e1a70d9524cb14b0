//! Figures as Prometheus text (exposition format 0.0.4). Knows no metric.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as ProtoMetric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};

use super::reply::Reply;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::metrics::{LabelValue, Labels, Metric, MetricKind, Spread};
use crate::util::foreign;

/// Longest value of a label that comes from outside, in characters.
const MAX_LABEL: usize = 128;

/// What `/metrics` answers.
pub fn reply(metrics: Vec<Metric>) -> Reply {
    // A family without values is no valid text.
    let families: Vec<MetricFamily> = metrics
        .into_iter()
        .map(family)
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    if let Err(why) = TextEncoder::new().encode(&families, &mut text) {
        log::error!("metrics can't be written: {why}");
        let fault = Fault::new(ErrorCode::InternalError, "the metrics can't be written");
        return Reply::fault(&fault);
    }
    Reply::text(prometheus::TEXT_FORMAT, text)
}

fn family(metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    match metric {
        Metric::Values {
            name,
            help,
            kind,
            samples,
        } => {
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(match kind {
                MetricKind::Gauge => MetricType::GAUGE,
                MetricKind::Counter => MetricType::COUNTER,
            });
            let metrics = samples.into_iter().map(|(labels, value)| {
                let mut metric = labelled(labels);
                match kind {
                    MetricKind::Gauge => {
                        let mut gauge = Gauge::default();
                        gauge.set_value(value);
                        metric.set_gauge(gauge);
                    }
                    MetricKind::Counter => {
                        let mut counter = Counter::default();
                        counter.set_value(value);
                        metric.set_counter(counter);
                    }
                }
                metric
            });
            family.set_metric(metrics.collect());
        }
        Metric::Spread {
            name,
            help,
            spreads,
        } => {
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(MetricType::HISTOGRAM);
            let metrics = spreads.into_iter().map(|(labels, spread)| {
                let mut metric = labelled(labels);
                metric.set_histogram(histogram(&spread));
                metric
            });
            family.set_metric(metrics.collect());
        }
    }
    family
}

fn labelled(labels: Labels) -> ProtoMetric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(match value {
            LabelValue::Fixed(name) => name.into_owned(),
            LabelValue::Foreign(text) => foreign::shown(&text, MAX_LABEL),
        });
        pair
    });
    let mut metric = ProtoMetric::default();
    metric.set_label(pairs.collect());
    metric
}

fn histogram(spread: &Spread) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.set_sample_count(spread.count);
    histogram.set_sample_sum(spread.sum);
    let buckets = spread.buckets.iter().map(|&(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    #[test]
    fn only_what_comes_from_outside_is_masked() {
        // Words of no other test: they are masked in all of this process.
        let _keep = ["zebrafish", "lss_zebra", "zstate", "canary-label"].map(Secret::new);
        let labels = vec![
            ("queue", "zebrafish_requests".into()),
            ("zstate", LabelValue::lower("ZEBRAFISH")),
            ("task", LabelValue::Foreign("of canary-label".to_owned())),
        ];
        let metric = Metric::gauge("lss_zebra_length", "A zebrafish.", vec![(labels, 1.0)]);
        let text = String::from_utf8(reply(vec![metric]).into_bytes(false)).unwrap();
        let line =
            r#"lss_zebra_length{queue="zebrafish_requests",zstate="zebrafish",task="of ***"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
