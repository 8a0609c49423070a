//! Translates function calls.

use sqlparser::ast::{
    CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, ObjectNamePart, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};

use crate::StorageError;

use super::writer::{Writer, Written};
use super::{denied, invalid, shown};

/// The functions that work the same on both databases, sorted.
const FUNCTIONS: &[&str] = &[
    "abs",
    "acos",
    "asin",
    "atan",
    "avg",
    "ceil",
    "ceiling",
    "coalesce",
    "cos",
    "count",
    "cume_dist",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "ifnull",
    "lag",
    "last_value",
    "lead",
    "length",
    "ln",
    "lower",
    "max",
    "min",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pow",
    "power",
    "rank",
    "row_number",
    "sin",
    "sqrt",
    "sum",
    "tan",
    "upper",
];

/// Functions of SQLite that PostgreSQL lacks or that behave differently there.
const OF_SQLITE: &[&str] = &[
    "char",
    "format",
    "glob",
    "group_concat",
    "hex",
    "iif",
    "likely",
    "log",
    "mod",
    "printf",
    "quote",
    "round",
    "sign",
    "string_agg",
    "substr",
    "total",
    "trunc",
    "typeof",
    "unicode",
];

impl Writer<'_> {
    pub(super) fn function(&mut self, call: &Function) -> Written {
        let Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } = call;
        self.count_function()?;
        let function = match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => listed(&ident.value)?,
            _ => return Err(denied(format!("the function {}", shown(&name.to_string())))),
        };
        let strange = *uses_odbc_syntax || !within_group.is_empty() || null_treatment.is_some();
        let FunctionArguments::List(arguments) = args else {
            return Err(invalid(format!("the function {function} without parentheses: write {function}(…)")));
        };
        if strange || !matches!(parameters, FunctionArguments::None) {
            return Err(invalid(format!("SQLite does not support this call of {function}")));
        }
        let (before, after) = around_numeric(function);
        self.put(before);
        self.put(function);
        self.parentheses(|writer| writer.arguments(function, arguments))?;
        if let Some(condition) = filter {
            self.put(" FILTER (WHERE ");
            self.expression(condition)?;
            self.put(")");
        }
        over.as_ref().map_or(Ok(()), |over| self.over(over))?;
        self.put(after);
        Ok(())
    }

    /// Writes ceil and floor, which the parser takes for keywords.
    pub(super) fn rounded(&mut self, function: &str, value: &Expr, field: &CeilFloorKind) -> Written {
        self.count_function()?;
        if !matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)) {
            return Err(invalid(format!("{function} needs exactly one argument")));
        }
        self.put(function);
        self.parentheses(|writer| writer.expression(value))
    }

    fn arguments(&mut self, function: &str, arguments: &FunctionArgumentList) -> Written {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = arguments;
        if matches!(function, "min" | "max") && args.len() != 1 {
            return Err(invalid(format!("{function} of several values does not work on PostgreSQL: use CASE")));
        }
        match duplicate_treatment {
            None => {}
            Some(DuplicateTreatment::Distinct) => self.put("DISTINCT "),
            Some(DuplicateTreatment::All) => return Err(invalid("SQLite has no ALL in a call")),
        }
        self.list(args, |writer, argument| writer.argument(function, argument))?;
        match clauses.as_slice() {
            [] => Ok(()),
            [FunctionArgumentClause::OrderBy(order)] => {
                self.put(" ORDER BY ");
                self.list(order, Self::ordered)
            }
            _ => Err(invalid(format!("SQLite does not support this call of {function}"))),
        }
    }

    fn argument(&mut self, function: &str, argument: &FunctionArg) -> Written {
        match argument {
            // SQLite changes only the case of ASCII letters.
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if matches!(function, "lower" | "upper") => {
                self.operand(value)?;
                self.put(" COLLATE \"C\"");
                Ok(())
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.expression(value),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if function == "count" => {
                self.put("*");
                Ok(())
            }
            _ => Err(invalid(format!("SQLite does not support this argument of {function}"))),
        }
    }

    fn over(&mut self, over: &WindowType) -> Written {
        self.put(" OVER ");
        match over {
            WindowType::NamedWindow(name) => self.name(name),
            WindowType::WindowSpec(window) => self.window(window),
        }
    }

    pub(super) fn window(&mut self, window: &WindowSpec) -> Written {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = window;
        if window_name.is_some() {
            return Err(invalid("a window must not extend another window"));
        }
        self.parentheses(|writer| {
            let mut space = "";
            if !partition_by.is_empty() {
                writer.put("PARTITION BY ");
                writer.list(partition_by, Self::expression)?;
                space = " ";
            }
            if !order_by.is_empty() {
                writer.put(space);
                writer.put("ORDER BY ");
                writer.list(order_by, Self::ordered)?;
                space = " ";
            }
            window_frame.as_ref().map_or(Ok(()), |frame| {
                writer.put(space);
                writer.frame(frame)
            })
        })
    }

    fn frame(&mut self, frame: &WindowFrame) -> Written {
        self.put(match frame.units {
            WindowFrameUnits::Rows => "ROWS ",
            WindowFrameUnits::Range => "RANGE ",
            WindowFrameUnits::Groups => "GROUPS ",
        });
        let Some(end) = &frame.end_bound else {
            return self.frame_bound(&frame.start_bound);
        };
        self.put("BETWEEN ");
        self.frame_bound(&frame.start_bound)?;
        self.put(" AND ");
        self.frame_bound(end)
    }

    fn frame_bound(&mut self, bound: &WindowFrameBound) -> Written {
        match bound {
            WindowFrameBound::CurrentRow => self.put("CURRENT ROW"),
            WindowFrameBound::Preceding(None) => self.put("UNBOUNDED PRECEDING"),
            WindowFrameBound::Following(None) => self.put("UNBOUNDED FOLLOWING"),
            WindowFrameBound::Preceding(Some(rows)) => {
                self.operand(rows)?;
                self.put(" PRECEDING");
            }
            WindowFrameBound::Following(Some(rows)) => {
                self.operand(rows)?;
                self.put(" FOLLOWING");
            }
        }
        Ok(())
    }
}

/// The text before and after a call, so that it does not return a `numeric`.
///
/// SQLite does not have this type. Its results would differ, and no deadline stops its arithmetic.
fn around_numeric(function: &str) -> (&'static str, &'static str) {
    match function {
        "sum" => ("comptoir_sum(", ")"),
        "avg" => ("CAST(", " AS DOUBLE PRECISION)"),
        _ => ("", ""),
    }
}

/// PostgreSQL's function for a name.
fn listed(name: &str) -> Result<&'static str, StorageError> {
    let lower = name.to_ascii_lowercase();
    match FUNCTIONS.iter().find(|function| **function == lower) {
        Some(&"ifnull") => Ok("coalesce"),
        Some(function) => Ok(function),
        None if OF_SQLITE.contains(&lower.as_str()) => {
            Err(invalid(format!("the function {lower} does not work on PostgreSQL as on SQLite")))
        }
        None => Err(denied(format!("the function {}", shown(&lower)))),
    }
}
