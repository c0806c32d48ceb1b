use super::*;
use crate::results::{About, Outcome, Series};

/// Sample figures, made up: no measurement is behind them.
pub fn sample() -> Run {
    let mut outcomes = Vec::new();
    for repetition in 1..=3 {
        let r = f64::from(repetition);
        for (variant, factor) in [("patched, vegas", 1.0), ("vanilla, vegas, cubic", 2.0)] {
            for (shared, remaining) in [(0.0, 0.0), (0.0, 0.1), (0.1, 0.0)] {
                outcomes.push(Outcome {
                    experiment: "tor-1".into(),
                    variant: variant.into(),
                    at: [
                        ("shared_percent".to_string(), shared),
                        ("remaining_percent".to_string(), remaining),
                    ]
                    .into(),
                    repetition,
                    figures: [
                        (
                            "sum_mbit".to_string(),
                            1_000.0 / factor - 100.0 * shared * factor + r,
                        ),
                        ("latency_ms".to_string(), 500.0 * factor + r),
                    ]
                    .into(),
                    refused: None,
                });
            }
            outcomes.push(Outcome {
                experiment: "tor-3".into(),
                variant: variant.into(),
                repetition,
                figures: [
                    ("bulk_mbit".to_string(), 77.0 + r),
                    ("during_ms".to_string(), 333.0 * factor + r),
                    ("base_ms".to_string(), 322.0 + r),
                ]
                .into(),
                ..Outcome::default()
            });
        }
        for (variant, p50) in [("utcp-cubic", 55.0), ("udp-or <cubic>", 66.0)] {
            for loss in [0.0, 0.1, 1.0] {
                outcomes.push(Outcome {
                    experiment: "nobody-knows-this".into(),
                    variant: variant.into(),
                    at: [("loss_percent".to_string(), loss)].into(),
                    repetition,
                    figures: [
                        ("delay_p50_ms".to_string(), p50 + loss),
                        ("delay_p99_ms".to_string(), 3.0 * p50 + loss + r),
                        ("strange_thing".to_string(), 4_321.0),
                    ]
                    .into(),
                    refused: None,
                });
            }
        }
    }
    outcomes.push(Outcome {
        experiment: "tor-3".into(),
        variant: "patched, vegas".into(),
        repetition: 4,
        figures: [("during_ms".to_string(), 98_765.0)].into(),
        refused: Some("the emulator was late by 7 ms".into()),
        ..Outcome::default()
    });
    let over_time = |name: &str, events, count: usize| Series {
        experiment: "tor-figure-1".into(),
        variant: "vanilla".into(),
        repetition: 1,
        name: name.into(),
        points: (0..count)
            .map(|n| (n as f64 / 10.0, ((n * 37) % 1_000) as f64))
            .collect(),
        events,
        ..Series::default()
    };
    Run {
        about: About {
            command: vec!["lab".into(), "all".into(), "--sample".into()],
            facts: [("cpu".to_string(), "made up".to_string())].into(),
            seed: 4_711,
            quick: true,
            ..About::default()
        },
        outcomes,
        series: vec![
            over_time("unacknowledged_octets", false, 30_000),
            over_time("unsent_octets", false, 30_000),
            over_time("dropped", true, 9),
        ],
    }
}

fn page(points: usize) -> (String, Vec<Chart>) {
    let targets = [
        Target {
            name: "delay under bulk".into(),
            figure: Some(1.04),
            bound: Bound::AtMost(1.05),
        },
        Target {
            name: "never measured".into(),
            figure: None,
            bound: Bound::AtLeast(1.0),
        },
    ];
    render(&sample(), &targets, points).unwrap()
}

#[test]
fn everything_that_was_measured_is_on_the_page() {
    let (text, _) = page(1_000);
    for wanted in [
        "tor-1",
        "tor-3",
        "nobody-knows-this",
        "tor-figure-1",
        "strange thing",
        "4321",
        "the emulator was late by 7 ms",
        "made up",
        "4711",
        "lab all --sample",
        "1 of 2",
        "not measured",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(!text.contains("98765"), "what was refused is in no mean");
}

#[test]
fn the_papers_figures_stand_beside_ours() {
    let (text, _) = page(100);
    // Table 5, patched, shared: ours, then the paper's.
    let row = text
        .split("<tr")
        .find(|row| row.contains("patched, vegas") && row.contains("0.1 % (shared)"));
    let row = row.expect("a row of Table 5");
    assert!(row.contains("270 \u{b1} 34"), "{row}");
    // 1002 without drops, 992 with them.
    assert!(row.contains("1.0 %"), "{row}");
    assert!(text.contains("1026 \u{b1} 418"));
}

#[test]
fn the_page_refers_to_nothing_outside_and_escapes_names() {
    let (text, _) = page(100);
    // Namespaces of SVG are names, not addresses that anything is fetched from.
    let rest = text.replace("http://www.w3.org/2000/svg", "");
    for forbidden in ["http:", "https:", "<script", "@import", "url(", "src="] {
        assert!(!rest.contains(forbidden), "{forbidden}");
    }
    assert!(!text.contains("udp-or <cubic>"));
    assert!(text.contains("udp-or &lt;cubic&gt;"));
}

#[test]
fn what_changes_over_time_is_thinned_and_keeps_its_extremes() {
    let points: Vec<(f64, f64)> = (0..10_000)
        .map(|n| (f64::from(n), f64::from(n % 7)))
        .collect();
    let mut spiked = points.clone();
    spiked[5_003].1 = 99.0;
    let thin = chart::thinned(&spiked, 100);
    assert!(thin.len() <= 101, "{}", thin.len());
    assert!(thin.iter().any(|p| p.y == 99.0));
    assert!(thin.windows(2).all(|w| w[0].x < w[1].x));
    assert_eq!(chart::thinned(&points[..50], 100).len(), 50);
    let (long, _) = page(1_200);
    let (brief, _) = page(100);
    assert!(brief.len() < long.len());
}

#[test]
fn files_are_written_below_the_limit() {
    let folder = std::env::temp_dir().join(format!("utcp-lab-page-{}", std::process::id()));
    let run = sample();
    let mut writer = crate::results::run::Writer::new(&folder, &run.about).unwrap();
    run.outcomes
        .iter()
        .for_each(|o| writer.outcome(o.clone()).unwrap());
    run.series
        .iter()
        .for_each(|s| writer.series(s.clone()).unwrap());
    let written = write(&folder, folder.join("own").join(INDEX), &[]).unwrap();
    assert!(written.charts >= 4, "{}", written.charts);
    let files = fs::read_dir(folder.join("own").join(CHARTS)).unwrap();
    let sizes: Vec<u64> = files
        .map(|f| f.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(
        sizes.len(),
        2 * written.charts,
        "each chart has a name of its own"
    );
    let page = fs::metadata(&written.page).unwrap().len();
    assert_eq!(sizes.iter().sum::<u64>() + page, written.octets as u64);
    assert!(written.octets < LIMIT);
    fs::remove_dir_all(&folder).unwrap();
}
