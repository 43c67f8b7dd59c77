//! A strict parser of both text formats, for tests: every deviation from the formats is an error.

use std::collections::{BTreeMap, BTreeSet};

type Labels = Vec<(String, String)>;
type Key = (String, Labels);

/// A parsed scrape.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<String, Family>,
    /// Numbers by name and labels.
    pub(crate) series: BTreeMap<Key, f64>,
    /// The number of examples.
    pub(crate) examples: usize,
}

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: bool,
    unit: Option<String>,
    sampled: bool,
}

/// Parses a text, or returns its first error.
pub(crate) fn read(text: &str, open_metrics: bool) -> Result<Page, String> {
    if !text.ends_with('\n') || text.contains('\r') || text.contains("\n\n") {
        return Err("must be lines that end with a line feed, none of them empty".into());
    }
    let mut lines: Vec<&str> = text.lines().collect();
    match (open_metrics, lines.last()) {
        (true, Some(&"# EOF")) => drop(lines.pop()),
        (true, _) => return Err("must end with # EOF".into()),
        (false, _) => {}
    }
    let mut page = Page::default();
    let mut family = String::new();
    for line in lines {
        let read = match line.strip_prefix("# ") {
            Some(comment) => page.comment(comment, &mut family, open_metrics),
            None => page.sample(line, &family, open_metrics),
        };
        read.map_err(|problem| format!("{problem}: {line}"))?;
    }
    page.no_clashes()?;
    page.histograms(open_metrics)?;
    Ok(page)
}

impl Page {
    fn comment(
        &mut self,
        text: &str,
        family: &mut String,
        open_metrics: bool,
    ) -> Result<(), String> {
        let mut words = text.splitn(3, ' ');
        let (word, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest = words.next().ok_or("nothing is said of the family")?;
        if !is_name(name, true) {
            return Err("not a name".into());
        }
        if *family != name {
            if self.families.insert(name.into(), Family::default()).is_some() {
                return Err("the family stands in two parts".into());
            }
            name.clone_into(family);
        }
        let found = self.families.get_mut(name).ok_or("no family")?;
        if found.sampled {
            return Err("after the family's first sample".into());
        }
        match word {
            "HELP" if !found.help => {
                found.help = true;
                unescaped(rest, open_metrics)?;
            }
            "TYPE" if found.kind.is_empty() => {
                let known = ["counter", "gauge", "histogram"];
                known.iter().find(|kind| **kind == rest).ok_or("not a type")?;
                rest.clone_into(&mut found.kind);
                let counts = !open_metrics && rest == "counter";
                if counts != name.ends_with("_total") {
                    return Err("the ending _total is that of a counter's samples".into());
                }
            }
            "UNIT" if open_metrics && found.unit.is_none() => {
                if !name.ends_with(&format!("_{rest}")) {
                    return Err("the name does not end with the unit".into());
                }
                found.unit = Some(rest.into());
            }
            _ => return Err("a comment that is not known here, or stands there twice".into()),
        }
        Ok(())
    }

    fn sample(&mut self, line: &str, family: &str, open_metrics: bool) -> Result<(), String> {
        let end = line.find(['{', ' ']).ok_or("no number")?;
        let (name, rest) = line.split_at(end);
        if !is_name(name, true) {
            return Err("not a name".into());
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let number = rest.strip_prefix(' ').ok_or("no blank before the number")?;
        let (number, example) = match number.split_once(" # ") {
            Some((number, example)) if open_metrics => (number, Some(example)),
            _ => (number, None),
        };
        let value: f64 = match number {
            "+Inf" => f64::INFINITY,
            _ => number.parse().map_err(|_| "not a number")?,
        };
        let found = self.families.get_mut(family).ok_or("a sample without a family")?;
        found.sampled = true;
        let endings: &[&str] = match (found.kind.as_str(), open_metrics) {
            ("counter", true) => &["_total"],
            ("counter", false) | ("gauge", _) => &[""],
            ("histogram", _) => &["_bucket", "_count", "_sum"],
            _ => return Err("its family has no type".into()),
        };
        if !found.help {
            return Err("its family has no help".into());
        }
        let ending = name.strip_prefix(family).ok_or("a sample of another family")?;
        endings.iter().find(|known| **known == ending).ok_or("an ending that its type has not")?;
        if found.kind != "gauge" && !(value >= 0.0 && value.is_finite()) {
            return Err("a count that is none".into());
        }
        if (ending == "_bucket") != labels.iter().any(|(name, _)| name == "le") {
            return Err("`le` belongs to buckets, and each has one".into());
        }
        if let Some(example) = example {
            if ending != "_bucket" {
                return Err("an example of something other than a bucket".into());
            }
            exemplar(example, &labels)?;
            self.examples += 1;
        }
        let mut key = labels;
        key.sort();
        if self.series.insert((name.into(), key), value).is_some() {
            return Err("the series stands there twice".into());
        }
        Ok(())
    }

    /// No sample of one family may have a name of another, in either format.
    fn no_clashes(&self) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        for (name, family) in &self.families {
            let base = name.strip_suffix("_total").unwrap_or(name);
            let names: Vec<String> = match family.kind.as_str() {
                "counter" => ["", "_total", "_created"].map(|end| format!("{base}{end}")).into(),
                "histogram" => ["", "_bucket", "_count", "_sum", "_created"]
                    .map(|end| format!("{base}{end}"))
                    .into(),
                _ => vec![name.clone()],
            };
            for name in names {
                if !taken.insert(name.clone()) {
                    return Err(format!("{name} is a name of two families"));
                }
            }
        }
        Ok(())
    }

    fn histograms(&self, open_metrics: bool) -> Result<(), String> {
        let mut buckets: BTreeMap<Key, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), count) in &self.series {
            let Some(family) = name.strip_suffix("_bucket") else { continue };
            let (end, rest): (Vec<_>, Vec<_>) =
                labels.iter().cloned().partition(|(name, _)| name == "le");
            let end = &end.first().ok_or("no end of a bucket")?.1;
            let has_point = end == "+Inf" || end.contains(['.', 'e']);
            let number = match end.as_str() {
                "+Inf" => f64::INFINITY,
                end => end.parse().map_err(|_| format!("{end} is no end of a bucket"))?,
            };
            if open_metrics && !has_point {
                return Err(format!("{end} has no point"));
            }
            buckets.entry((family.to_owned(), rest)).or_default().push((number, *count));
        }
        for ((family, labels), mut of) in buckets {
            of.sort_by(|a, b| a.0.total_cmp(&b.0));
            if of.windows(2).any(|pair| pair[0].1 > pair[1].1) {
                return Err(format!("{family}: a bucket has less than the one before it"));
            }
            let all = of.last().filter(|(end, _)| end.is_infinite()).ok_or("no last bucket")?.1;
            let count = self.series.get(&(format!("{family}_count"), labels.clone()));
            let sum = self.series.get(&(format!("{family}_sum"), labels));
            if count.is_none_or(|count| (count - all).abs() > 0.0) || sum.is_none() {
                return Err(format!(
                    "{family}: the count is not that of the last bucket, or no sum"
                ));
            }
        }
        Ok(())
    }
}

/// Checks the example of a bucket: its labels, a value in the bucket, and a time.
fn exemplar(text: &str, bucket: &Labels) -> Result<(), String> {
    let (labels, rest) = labels(text.strip_prefix('{').ok_or("an example without labels")?)?;
    let characters: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if characters > 128 {
        return Err("an example with more than 128 characters".into());
    }
    let rest = rest.strip_prefix(' ').ok_or("no blank before the value of an example")?;
    let (value, time) = rest.split_once(' ').ok_or("an example without a time")?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{text} is not a number"));
    let end = bucket.iter().find(|(name, _)| name == "le").map_or("", |(_, end)| end);
    let end = if end == "+Inf" { f64::INFINITY } else { number(end)? };
    if number(value)? > end || number(time)? <= 0.0 {
        return Err("an example outside of its bucket, or of no time".into());
    }
    Ok(())
}

fn is_name(text: &str, colons: bool) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    !text.is_empty() && text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// The labels in the braces, and the text after them.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, false) || name.starts_with("__") || labels.iter().any(|(n, _)| n == name)
        {
            return Err(format!("{name:?} is no name of a label, or stands there twice"));
        }
        let mut escapes = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escapes;
            escapes = c == '\\' && !escapes;
            ends
        });
        let (value, after) = after.split_at(end.ok_or("a value without an end")?);
        labels.push((name.into(), unescaped(value, true)?));
        match after[1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                let after = after[1..].strip_prefix('}').ok_or("no closing brace")?;
                return Ok((labels, after));
            }
        }
    }
}

fn unescaped(text: &str, quotes: bool) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('"') if quotes => out.push('"'),
                _ => return Err("an escape that there is not".into()),
            },
            '"' if quotes => return Err("a quote that is not escaped".into()),
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_seconds x\n# TYPE a_seconds gauge\na_seconds{b=\"c\"} 1\n";

    #[test]
    fn forbidden_forms_are_errors() {
        read(GOOD, false).unwrap();
        read(&format!("{GOOD}# EOF\n"), true).unwrap();
        let family = |name: &str, kind: &str| format!("# HELP {name} x\n# TYPE {name} {kind}\n");
        for (text, open_metrics) in [
            (GOOD.trim_end().to_owned(), false),
            (GOOD.to_owned(), true),
            (format!("{GOOD}# EOF\n"), false),
            (format!("{GOOD}a_seconds{{b=\"c\"}} 2\n"), false),
            (format!("{GOOD}{}", family("a_seconds", "gauge")), false),
            (format!("{GOOD}{}{GOOD}", family("other", "gauge")), false),
            (format!("{}a 1\n", family("a", "counter")), false),
            (format!("{}a 1\n# EOF\n", family("a", "counter")), true),
            (format!("{}a_total 1\n{}# EOF\n", family("a", "counter"), family("a", "gauge")), true),
            (format!("{}{}# EOF\n", family("a", "gauge"), family("a_total", "gauge")), true),
            (format!("{}{}", family("a", "gauge"), family("a_total", "counter")), false),
            (format!("{}a_total -1\n", family("a_total", "counter")), false),
            (format!("{}a{{b=\"\"\"}} 1\n", family("a", "gauge")), false),
            (format!("{}a{{b=\"\\t\"}} 1\n", family("a", "gauge")), false),
            (format!("{}a_bucket{{le=\"1.0\"}} 1\n", family("a", "histogram")), false),
            (format!("{}a 1 # {{t=\"1\"}} 1 1.0\n# EOF\n", family("a", "gauge")), true),
            (format!("{}a 1 # {{t=\"1\"}} 1 1.0\n", family("a", "gauge")), false),
            ("a 1\n".to_owned(), false),
            ("# TYPE a gauge\na 1\n".to_owned(), false),
        ] {
            assert!(read(&text, open_metrics).is_err(), "{text}");
        }
    }
}
