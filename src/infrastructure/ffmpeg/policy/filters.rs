//! Filter graphs: split as FFmpeg splits them, every filter on an allow list. Pure.
//!
//! On the list are filters that neither read nor write anything but frames. FFmpeg loads an option
//! from a file when its name begins with `/` (`scale=/w=path`), and quotes and backslashes can
//! hide a name, so graphs are unescaped here as FFmpeg does before anything is compared.

use super::sizes;

/// Filters without any option that names a file, device, command or address.
const ALLOWED: [&str; 52] = [
    "null",
    "copy",
    "scale",
    "fps",
    "framerate",
    "format",
    "setsar",
    "setdar",
    "setpts",
    "settb",
    "setrange",
    "setparams",
    "crop",
    "pad",
    "transpose",
    "hflip",
    "vflip",
    "rotate",
    "yadif",
    "bwdif",
    "eq",
    "hue",
    "unsharp",
    "hqdn3d",
    "drawbox",
    "drawgrid",
    "overlay",
    "split",
    "trim",
    "tpad",
    "select",
    "hstack",
    "vstack",
    "fade",
    "anull",
    "aresample",
    "aformat",
    "asetpts",
    "asettb",
    "volume",
    "pan",
    "amix",
    "amerge",
    "asplit",
    "atempo",
    "adelay",
    "apad",
    "atrim",
    "highpass",
    "lowpass",
    "alimiter",
    "dynaudnorm",
];

/// `drawtext` reads fonts and texts from files: only these of its options, each by its name.
const DRAWTEXT: [&str; 22] = [
    "text",
    "x",
    "y",
    "font",
    "fontsize",
    "fontcolor",
    "alpha",
    "box",
    "boxcolor",
    "boxborderw",
    "borderw",
    "bordercolor",
    "shadowx",
    "shadowy",
    "shadowcolor",
    "line_spacing",
    "timecode",
    "timecode_rate",
    "r",
    "rate",
    "expansion",
    "fix_bounds",
];

/// The longest graph looked at, in bytes.
const MAX_GRAPH: usize = 4096;

/// Why a graph is refused, in words that carry nothing of its values.
pub(super) fn check(graph: &str) -> Result<(), String> {
    if graph.len() > MAX_GRAPH {
        return Err(format!("is longer than {MAX_GRAPH} bytes"));
    }
    let mut rest = graph;
    loop {
        rest = labels(rest.trim_start())?;
        rest = one_filter(rest)?;
        rest = labels(rest.trim_start())?.trim_start();
        match rest.strip_prefix([',', ';']) {
            // A `;` may end the graph.
            Some(after) if after.trim().is_empty() && rest.starts_with(';') => return Ok(()),
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(()),
            None => return Err("is no filter graph".to_owned()),
        }
    }
}

/// `[0:v][bg]`
fn labels(mut text: &str) -> Result<&str, String> {
    while let Some(inside) = text.strip_prefix('[') {
        let Some((label, after)) = inside.split_once(']') else {
            return Err("has a label that is not closed".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
        if label.is_empty() || !label.chars().all(plain) {
            return Err("has a label with odd characters".to_owned());
        }
        text = after.trim_start();
    }
    Ok(text)
}

fn one_filter(text: &str) -> Result<&str, String> {
    let (name, rest) = token(text, "=,;[");
    let base = name.split('@').next().unwrap_or("").trim_end().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if base.is_empty() || base.len() > 32 || !base.chars().all(plain) {
        return Err("has a filter without a proper name".to_owned());
    }
    let drawtext = base == "drawtext";
    if !drawtext && !ALLOWED.contains(&base.as_str()) {
        return Err(format!("uses the filter {base}, which is not on the list"));
    }
    let Some(after) = rest.strip_prefix('=') else {
        return if drawtext {
            Err("uses drawtext without options".to_owned())
        } else {
            Ok(rest)
        };
    };
    let (args, rest) = token(after, "[],;");
    arguments(&base, &args, drawtext)?;
    Ok(rest)
}

/// `w=1280:h=-2` or `1280:-2`, already unescaped once.
fn arguments(filter: &str, args: &str, only_named: bool) -> Result<(), String> {
    let mut rest = args;
    let mut position = 0;
    while !rest.is_empty() {
        let (key, after) = key(rest);
        match key {
            Some(key) if key.contains('/') => {
                return Err(format!("has {filter} load an option from a file"));
            }
            Some(key) if only_named && !DRAWTEXT.contains(&key) => {
                return Err(format!(
                    "uses an option of {filter} that is not on the list"
                ));
            }
            None if only_named => {
                return Err(format!("uses an option of {filter} without its name"));
            }
            Some(_) | None => {}
        }
        let (value, behind) = token(after, ":");
        if sizes::is_size(filter, key, position) && !sizes::is_expression(&value) {
            return Err(format!(
                "has {filter} make too large a picture, or one whose size can't be told"
            ));
        }
        position += 1;
        rest = behind.strip_prefix(':').unwrap_or(behind);
    }
    Ok(())
}

/// A leading `key=`, as FFmpeg finds one (its keys may have `/`).
fn key(text: &str) -> (Option<&str>, &str) {
    let trimmed = text.trim_start();
    let end = trimmed
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.')))
        .unwrap_or(trimmed.len());
    let (key, rest) = trimmed.split_at(end);
    match rest.trim_start().strip_prefix('=') {
        Some(value) if !key.is_empty() => (Some(key), value),
        _ => (None, text),
    }
}

/// FFmpeg's tokeniser: up to one of `ends` that is neither escaped nor quoted; what comes out is
/// unescaped. `\x` is x; between single quotes everything is itself.
fn token<'a>(text: &'a str, ends: &str) -> (String, &'a str) {
    let text = text.trim_start_matches([' ', '\n', '\t', '\r']);
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' => out.extend(
                chars
                    .by_ref()
                    .map(|(_, quoted)| quoted)
                    .take_while(|quoted| *quoted != '\''),
            ),
            c if ends.contains(c) => return (out, text.get(at..).unwrap_or("")),
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_graphs_pass() {
        for graph in [
            "scale=1280:-2",
            "pad=ceil(iw/2)*2:ceil(ih/2)*2:0:0:black",
            "pad=ih*16/9:ih:(ow-iw)/2:(oh-ih)/2",
            "rotate=PI/2:ow=ih:oh=iw",
            "scale=w=1280:h=720:flags=bicubic,fps=15,format=yuv420p",
            "scale='min(1280,iw)':-2",
            "scale=min(1280\\,iw):-2, setsar=1",
            "[0:v]scale=1280:720[a];[1:v]scale=320:-1[b];[a][b]overlay=W-w-10:10[v]",
            "aresample=async=1:first_pts=0",
            "pan=stereo|c0=c0|c1=c0",
            "fps@cam=15;",
            "null , hflip ;",
            "null",
            "drawtext=text='%{localtime\\:%H\\\\\\:%M}':x=10:y=10:fontcolor=white",
        ] {
            assert_eq!(check(graph), Ok(()), "{graph}");
        }
    }

    #[test]
    fn whatever_touches_files_is_refused_however_it_is_written() {
        for (graph, word) in [
            ("movie=/etc/passwd", "movie"),
            ("scale=1280:720,movie=x", "movie"),
            ("amovie=x", "amovie"),
            ("subtitles=x.srt", "subtitles"),
            ("ass=x", "ass"),
            ("lut3d=x.cube", "lut3d"),
            ("sendcmd=f=x", "sendcmd"),
            ("zmq", "zmq"),
            ("metadata=print:file=x", "metadata"),
            ("m\\ovie=x", "movie"),
            ("'movie'=x", "movie"),
            ("null;mo'vi'e=x[v]", "movie"),
            ("pad=16000:16000", "too large"),
            ("scale=w=1280:h=16000", "too large"),
            ("scale=s=16000x16000", "too large"),
            ("scale=flags=bicubic:w=iw*20", "too large"),
            ("rotate=0.5:ow=iw*9:oh=ih", "too large"),
            ("[0:v]scale=1280:720[a];[a]pad='16000':16000", "too large"),
            ("scale=/w=/etc/passwd", "from a file"),
            ("scale=1280:/h=/etc/passwd", "from a file"),
            ("scale=1280\\:/h=/etc/passwd", "from a file"),
            ("scale=1280':/h=/etc'/passwd", "from a file"),
            ("drawtext=textfile=/etc/passwd", "drawtext"),
            ("drawtext=text=a:textfile=/etc/passwd", "drawtext"),
            ("drawtext=text=a:text\\file=/etc/passwd", "drawtext"),
            ("drawtext=text=a\\:fontfile=/etc/passwd", "drawtext"),
            ("drawtext=/usr/font.ttf", "drawtext"),
            ("drawtext=/text=/etc/passwd", "drawtext"),
            ("drawtext", "drawtext"),
            ("sws_flags=x;scale=1:1", "sws_flags"),
            ("", "name"),
            ("scale=1:1,", "name"),
            ("[a", "label"),
            ("[a b]null", "label"),
            ("null]", "name"),
            ("[a]null[b]c", "no filter graph"),
        ] {
            let why = check(graph).unwrap_err();
            assert!(why.contains(word), "{graph}: {why}");
        }
        assert!(check(&"null,".repeat(2000)).is_err());
    }

    #[test]
    fn refusals_carry_no_value() {
        for graph in [
            "movie=canary",
            "scale=/w=canary",
            "canary value=x",
            "drawtext=canary=1",
        ] {
            assert!(!check(graph).unwrap_err().contains("canary"), "{graph}");
        }
    }
}
