//! A run as everybody may see it: without the paths of the machine, which may name people.

use crate::results::Run;

/// Where the program was built: what is below it is called as in the checkout.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");

/// The run with shortened paths in all texts that come from outside.
pub fn run(mut run: Run) -> Run {
    let root = std::path::absolute(CHECKOUT).map_or(CHECKOUT.into(), |path| normal(&path));
    let shorten = |text: &mut String| *text = paths(text, &root);
    run.about.command.iter_mut().for_each(shorten);
    run.about.facts.values_mut().for_each(shorten);
    let refused = run.outcomes.iter_mut().filter_map(|o| o.refused.as_mut());
    refused.for_each(shorten);
    run
}

/// Without `lab/..`.
fn normal(path: &std::path::Path) -> String {
    let root = path.parent().filter(|_| path.ends_with(".."));
    let root = root.and_then(|lab| lab.parent()).unwrap_or(path);
    root.display().to_string()
}

/// Absolute paths in `text`: below `root` they lose it, of others the last part is left.
fn paths(text: &str, root: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"'`=,:;()<>|".contains(c);
    let mut out = String::new();
    for word in text.split_inclusive(ends) {
        let (path, end) = match word.char_indices().next_back() {
            Some((at, c)) if ends(c) => word.split_at(at),
            _ => (word, ""),
        };
        let below = path.strip_prefix(root).filter(|p| p.starts_with('/'));
        match (below, path.rsplit_once('/')) {
            (Some(below), _) => out.push_str(below.trim_start_matches('/')),
            (None, Some((before, last))) if path.starts_with('/') && path.len() > 1 => {
                let last = if last.is_empty() {
                    before.rsplit('/').next().unwrap_or_default()
                } else {
                    last
                };
                out.push_str(&format!(".../{last}"));
            }
            _ => out.push_str(path),
        }
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_what_is_of_the_machine() {
        for (text, expected) in [
            (
                "/home/me/utcp/target/release/lab tor",
                "target/release/lab tor",
            ),
            ("--tor=/home/you/src/tor --quick", "--tor=.../tor --quick"),
            ("/home/me/utcp2/lab/", ".../lab"),
            (
                "no such file: \"/tmp/x/y.csv\"",
                "no such file: \".../y.csv\"",
            ),
            (
                "12 cells/s, 3 / 4, build/lab",
                "12 cells/s, 3 / 4, build/lab",
            ),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(paths(text, "/home/me/utcp"), expected);
        }
    }

    #[test]
    fn everything_that_comes_from_outside_is_shortened() {
        let mut sample = crate::page::tests::sample();
        let own = std::env::current_dir().unwrap();
        sample.about.command = vec![own.join("target/lab").display().to_string()];
        sample
            .about
            .facts
            .insert("tor".into(), "/opt/me/tor".into());
        sample.outcomes[0].refused = Some("/home/me/x is not there".into());
        let plain = run(sample);
        // Tests run in the folder of the crate.
        assert_eq!(plain.about.command, ["lab/target/lab"]);
        assert_eq!(plain.about.facts["tor"], ".../tor");
        assert_eq!(
            plain.outcomes[0].refused.as_deref(),
            Some(".../x is not there")
        );
    }
}
