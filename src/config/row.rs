//! What a row of `keys` becomes: a field, its reading, its line of the effective configuration, its
//! comparison at a reload, and its line of the documents' table.

use super::shown::{Shown, Yaml};

/// When a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// At the reload.
    Now,
    /// At the next start.
    Restart,
}

/// A key whose value has changed. The values are not named: they may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Dotted, as in the file.
    pub key: &'static str,
    /// When it takes effect.
    pub takes: Takes,
}

/// A key as the documents' table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Dotted, as in the file; `[]` stands for an entry of a list.
    pub key: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it may be set to.
    pub takes: String,
    /// What holds where it is left out, in the file's notation; empty = it has to be set.
    pub default: String,
    /// The environment variable that wins over the file.
    pub env: Option<&'static str>,
    /// When a changed value takes effect.
    pub reload: Takes,
}

/// When a key's new value takes effect.
#[derive(Clone, Copy)]
pub(super) enum Reload {
    /// At the reload.
    Now,
    /// At the reload, but for one that is taken away: the API may listen where it must not be open.
    NowIfSet,
    /// At the next start.
    Restart,
}

impl Reload {
    /// For the new value.
    pub(super) fn takes(self, new: &impl Shown) -> Takes {
        match self {
            Self::Now => Takes::Now,
            Self::NowIfSet if new.is_set() => Takes::Now,
            Self::NowIfSet | Self::Restart => Takes::Restart,
        }
    }

    /// As a rule, for the table.
    pub(super) fn usual(self) -> Takes {
        match self {
            Self::Now | Self::NowIfSet => Takes::Now,
            Self::Restart => Takes::Restart,
        }
    }
}

/// What every section can do with its rows, and the sections below it.
pub(super) trait Keys {
    /// Where it stands, with a dot at the end.
    const PATH: &'static str;

    /// Writes them.
    fn show(&self, yaml: &mut Yaml);

    /// Adds the keys that differ.
    fn changes(old: &Self, new: &Self, out: &mut Vec<Change>);

    /// Takes over what a reload may change. The rest stays as it was.
    fn reload(&mut self, new: &Self);

    /// Adds a line for every key.
    fn rows(out: &mut Vec<Row>);
}

/// A section of the file as a struct. A row is
///
/// ```text
/// /// What it is for.
/// field [as "key"]: Type = default, Reload[, env "VARIABLE"]; source;
/// ```
///
/// where the type says how the value is shown ([`Shown`]) and the source how it is read
/// ([`Source`](super::reader::Source)). The path ends in a dot.
macro_rules! keys {
    (
        $(#[doc = $title:literal])+
        $name:ident in $path:literal {
            $(
                $(#[doc = $about:literal])+
                $field:ident $(as $key:literal)?: $type:ty = $default:expr, $reload:ident
                    $(, env $env:literal)?; $source:expr;
            )*
            $(sections {
                $(
                    $(#[doc = $section_title:literal])+
                    $section:ident: $section_type:ident;
                )+
            })?
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $about])+ pub $field: $type, )*
            $($( $(#[doc = $section_title])+ pub $section: $section_type, )+)?
        }

        impl $name {
            /// Reads every row.
            #[allow(clippy::too_many_arguments)]
            pub(super) fn read<'a>(
                r: &mut Reader<'a>,
                section: &Section<'a>,
                $($( $section: $section_type, )+)?
            ) -> Self {
                $(
                    let key = keys!(@key $field $($key)?);
                    let env: Option<&'static str> = keys!(@env $($env)?);
                    let $field: $type = r.row(section, key, env, $default, &$source);
                )*
                Self { $( $field, )* $($( $section, )+)? }
            }

        }

        impl Keys for $name {
            const PATH: &'static str = $path;

            fn show(&self, yaml: &mut Yaml) {
                $( yaml.key(keys!(@key $field $($key)?), &self.$field); )*
                $($(
                    yaml.section($section_type::PATH);
                    self.$section.show(yaml);
                )+)?
            }

            fn changes(old: &Self, new: &Self, out: &mut Vec<Change>) {
                $(
                    if old.$field != new.$field {
                        out.push(Change {
                            key: keys!(@path $path $field $($key)?),
                            takes: Reload::$reload.takes(&new.$field),
                        });
                    }
                )*
                $($( $section_type::changes(&old.$section, &new.$section, out); )+)?
            }

            fn reload(&mut self, new: &Self) {
                $(
                    if Reload::$reload.takes(&new.$field) == Takes::Now {
                        self.$field.clone_from(&new.$field);
                    }
                )*
                $($( self.$section.reload(&new.$section); )+)?
            }

            fn rows(out: &mut Vec<Row>) {
                $(
                    let default: $type = $default;
                    source::describe::<$type>(
                        &$source,
                        Row {
                            key: keys!(@path $path $field $($key)?),
                            about: concat!($($about),+),
                            takes: String::new(),
                            default: default.shown(),
                            env: keys!(@env $($env)?),
                            reload: Reload::$reload.usual(),
                        },
                        out,
                    );
                )*
                $($( $section_type::rows(out); )+)?
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@path $path:literal $field:ident) => { concat!($path, stringify!($field)) };
    (@path $path:literal $field:ident $key:literal) => { concat!($path, $key) };
    (@env) => { None };
    (@env $env:literal) => { Some($env) };
}
pub(super) use keys;
