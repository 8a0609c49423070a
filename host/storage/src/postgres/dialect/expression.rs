//! Translates expressions.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, ExactNumberInfo, Expr, ObjectName, ObjectNamePart, UnaryOperator,
    Value,
};

use crate::StorageError;

use super::writer::{Writer, Written};
use super::{invalid, shown};

impl Writer<'_> {
    pub(super) fn expression(&mut self, expression: &Expr) -> Written {
        match expression {
            Expr::Identifier(column) => self.column_reference(std::slice::from_ref(column)),
            Expr::CompoundIdentifier(parts) => self.column_reference(parts),
            Expr::Value(value) => self.literal(&value.value),
            Expr::Substring {
                expr, substring_from: Some(from), substring_for: Some(length), special: true, ..
            } if is_count(from) && is_count(length) => self.substr(expr, from, length),
            Expr::Nested(inner) => self.parentheses(|writer| writer.expression(inner)),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) => self.parentheses(|writer| writer.query(query)),
            Expr::Exists { subquery, negated } => {
                self.put(if *negated { "NOT EXISTS " } else { "EXISTS " });
                self.parentheses(|writer| writer.query(subquery))
            }
            _ => self.test(expression),
        }
    }

    /// Writes expressions that test something.
    fn test(&mut self, expression: &Expr) -> Written {
        match expression {
            Expr::IsNull(tested) => self.is(tested, "NULL"),
            Expr::IsNotNull(tested) => self.is(tested, "NOT NULL"),
            Expr::IsTrue(tested) => self.is(tested, "TRUE"),
            Expr::IsNotTrue(tested) => self.is(tested, "NOT TRUE"),
            Expr::IsFalse(tested) => self.is(tested, "FALSE"),
            Expr::IsNotFalse(tested) => self.is(tested, "NOT FALSE"),
            Expr::IsDistinctFrom(left, right) => self.infix(left, "IS DISTINCT FROM", right),
            Expr::IsNotDistinctFrom(left, right) => self.infix(left, "IS NOT DISTINCT FROM", right),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::InSubquery { expr, subquery, negated } => {
                self.row(expr)?;
                self.put(if *negated { " NOT IN " } else { " IN " });
                self.parentheses(|writer| writer.query(subquery))
            }
            Expr::Between { expr, negated, low, high } => {
                self.infix(expr, if *negated { "NOT BETWEEN" } else { "BETWEEN" }, low)?;
                self.put(" AND ");
                self.row(high)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(*negated, expr, pattern, escape_char.as_deref())
            }
            _ => self.conversion(expression),
        }
    }

    /// Writes expressions that convert a value.
    fn conversion(&mut self, expression: &Expr) -> Written {
        match expression {
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None } => self.cast(expr, data_type),
            Expr::Collate { expr, collation } => self.collate(expr, collation),
            Expr::Ceil { expr, field } => self.rounded("CEIL", expr, field),
            Expr::Floor { expr, field } => self.rounded("FLOOR", expr, field),
            _ => Err(refused(expression)),
        }
    }

    /// Writes an expression so that it can be the operand of any operator.
    pub(super) fn operand(&mut self, expression: &Expr) -> Written {
        match expression {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Nested(_) => {
                self.expression(expression)
            }
            Expr::Function(_) | Expr::Subquery(_) | Expr::Cast { .. } => self.expression(expression),
            Expr::Ceil { .. } | Expr::Floor { .. } => self.expression(expression),
            _ => self.parentheses(|writer| writer.expression(expression)),
        }
    }

    /// Writes an operand that may be a row, as in `(a, b) < (c, d)`.
    fn row(&mut self, expression: &Expr) -> Written {
        match expression {
            Expr::Tuple(values) => self.tuple(values),
            _ => self.operand(expression),
        }
    }

    pub(super) fn tuple(&mut self, values: &[Expr]) -> Written {
        self.parentheses(|writer| writer.list(values, Self::expression))
    }

    fn infix(&mut self, left: &Expr, operator: &str, right: &Expr) -> Written {
        self.row(left)?;
        self.put(" ");
        self.put(operator);
        self.put(" ");
        self.row(right)
    }

    fn is(&mut self, tested: &Expr, what: &str) -> Written {
        self.operand(tested)?;
        self.put(" IS ");
        self.put(what);
        Ok(())
    }

    fn binary(&mut self, left: &Expr, operator: &BinaryOperator, right: &Expr) -> Written {
        if let Some(word) = comparison(operator) {
            return self.infix(left, word, right);
        }
        let Some(word) = joining(operator) else {
            return Err(no_operator(operator));
        };
        if *operator == BinaryOperator::StringConcat {
            return self.joined_texts(&operands(left, operator, right));
        }
        for (at, operand) in operands(left, operator, right).into_iter().enumerate() {
            if at > 0 {
                self.put(" ");
                self.put(word);
                self.put(" ");
            }
            self.operand(operand)?;
        }
        Ok(())
    }

    /// Writes `||`.
    ///
    /// SQLite converts every operand to a text and limits the result's size.
    fn joined_texts(&mut self, operands: &[&Expr]) -> Written {
        self.put(&"comptoir_join(".repeat(operands.len() - 1));
        for (at, operand) in operands.iter().enumerate() {
            self.put(if at > 0 { ", CAST(" } else { "CAST(" });
            self.expression(operand)?;
            self.put(" AS TEXT)");
            self.put(if at > 0 { ")" } else { "" });
        }
        Ok(())
    }

    fn unary(&mut self, operator: UnaryOperator, operand: &Expr) -> Written {
        match operator {
            // In SQLite a unary plus changes nothing.
            UnaryOperator::Plus => return self.operand(operand),
            UnaryOperator::Minus => self.put("-"),
            UnaryOperator::BitwiseNot => self.put("~"),
            UnaryOperator::Not => self.put("NOT "),
            _ => return Err(invalid("SQLite does not support this operator")),
        }
        self.operand(operand)
    }

    fn in_list(&mut self, tested: &Expr, list: &[Expr], negated: bool) -> Written {
        if list.is_empty() {
            return Err(invalid("IN () does not work on PostgreSQL: write at least one value"));
        }
        self.row(tested)?;
        self.put(if negated { " NOT IN " } else { " IN " });
        self.tuple(list)
    }

    /// Writes LIKE.
    ///
    /// SQLite ignores case, and has no escape character unless the statement names one.
    fn like(&mut self, negated: bool, tested: &Expr, pattern: &Expr, escape: Option<&Expr>) -> Written {
        self.count_like()?;
        self.operand(tested)?;
        self.put(if negated { " NOT ILIKE " } else { " ILIKE " });
        self.operand(pattern)?;
        self.put(" ESCAPE ");
        match escape {
            None => self.string(""),
            Some(Expr::Value(value)) => match &value.value {
                Value::SingleQuotedString(text) if text.chars().count() == 1 => self.string(text),
                _ => return Err(invalid("ESCAPE needs one character")),
            },
            Some(_) => return Err(invalid("ESCAPE needs one character")),
        }
        Ok(())
    }

    fn case(&mut self, operand: Option<&Expr>, conditions: &[CaseWhen], otherwise: Option<&Expr>) -> Written {
        self.put("CASE");
        if let Some(operand) = operand {
            self.put(" ");
            self.operand(operand)?;
        }
        for CaseWhen { condition, result } in conditions {
            self.put(" WHEN ");
            self.operand(condition)?;
            self.put(" THEN ");
            self.operand(result)?;
        }
        if let Some(otherwise) = otherwise {
            self.put(" ELSE ");
            self.operand(otherwise)?;
        }
        self.put(" END");
        Ok(())
    }

    fn cast(&mut self, value: &Expr, to: &DataType) -> Written {
        let Some(word) = type_word(to) else {
            return Err(invalid(format!("CAST to {}: write INTEGER, REAL, TEXT or BLOB", shown(&to.to_string()))));
        };
        if word == "BIGINT" {
            // PostgreSQL's own CAST would round.
            self.put("comptoir_integer");
            return self.parentheses(|writer| writer.expression(value));
        }
        self.put("CAST(");
        self.expression(value)?;
        self.put(" AS ");
        self.put(word);
        self.put(")");
        Ok(())
    }

    fn collate(&mut self, value: &Expr, collation: &ObjectName) -> Written {
        collation_is_binary(collation)?;
        self.operand(value)?;
        self.put(" COLLATE \"C\"");
        Ok(())
    }

    /// A part of a text, from a literal position of at least 1. SQLite counts from the end for others, PostgreSQL does not.
    fn substr(&mut self, text: &Expr, from: &Expr, length: &Expr) -> Written {
        self.count_function()?;
        self.put("substr(");
        for (part, after) in [(text, ", "), (from, ", "), (length, ")")] {
            self.expression(part)?;
            self.put(after);
        }
        Ok(())
    }

    pub(super) fn literal(&mut self, value: &Value) -> Written {
        match value {
            Value::Number(number, false) if number.parse::<i64>().is_ok() => self.put(number),
            Value::Number(number, false) if is_decimal(number) => {
                self.put("CAST(");
                self.put(number);
                self.put(" AS DOUBLE PRECISION)");
            }
            Value::Number(number, _) => return Err(invalid(format!("the number {} is not supported", shown(number)))),
            Value::SingleQuotedString(text) => self.string(text),
            Value::HexStringLiteral(digits) => self.blob(digits)?,
            Value::Null => self.put("NULL"),
            Value::Boolean(true) => self.put("true"),
            Value::Boolean(false) => self.put("false"),
            Value::Placeholder(name) => self.parameter(name)?,
            _ => return Err(invalid("SQLite does not support this literal")),
        }
        Ok(())
    }

    fn blob(&mut self, digits: &str) -> Written {
        if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("X'…' needs two hexadecimal digits for each byte"));
        }
        self.put("'\\x");
        self.put(digits);
        self.put("'::BYTEA");
        Ok(())
    }
}

/// Refuses collations that PostgreSQL does not have.
pub(super) fn collation_is_binary(collation: &ObjectName) -> Written {
    match collation.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if name.value.eq_ignore_ascii_case("BINARY") => Ok(()),
        _ => {
            let name = shown(&collation.to_string());
            Err(invalid(format!("COLLATE {name} does not work on PostgreSQL: only BINARY does")))
        }
    }
}

/// PostgreSQL's name of a type.
pub(super) fn type_word(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Integer(None) | DataType::Int(None) | DataType::BigInt(None) => Some("BIGINT"),
        DataType::Real | DataType::Double(ExactNumberInfo::None) | DataType::DoublePrecision => {
            Some("DOUBLE PRECISION")
        }
        DataType::Text => Some("TEXT"),
        DataType::Blob(None) => Some("BYTEA"),
        _ => None,
    }
}

fn is_decimal(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(part) && digits(exponent) && !exponent.is_empty() && !(whole.is_empty() && part.is_empty())
}

/// The operands of a chain of the same operator, in the order for PostgreSQL.
///
/// PostgreSQL infers the type of a parameter from its first use. `$1 IS NULL` does not tell the type. So such tests come last in
/// a chain of AND or OR. The order does not change the result.
fn operands<'e>(left: &'e Expr, operator: &BinaryOperator, right: &'e Expr) -> Vec<&'e Expr> {
    let (mut operands, mut rest) = (vec![right], left);
    while let Expr::BinaryOp { left, op, right } = rest
        && op == operator
    {
        operands.push(right);
        rest = left;
    }
    operands.push(rest);
    operands.reverse();
    if matches!(operator, BinaryOperator::And | BinaryOperator::Or) {
        operands.sort_by_key(|operand| tests_a_parameter_for_null(operand));
    }
    operands
}

fn tests_a_parameter_for_null(expression: &Expr) -> bool {
    match expression {
        Expr::IsNull(tested) | Expr::IsNotNull(tested) => is_a_parameter(tested),
        Expr::Nested(inner) => tests_a_parameter_for_null(inner),
        _ => false,
    }
}

fn is_a_parameter(expression: &Expr) -> bool {
    match expression {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_a_parameter(inner),
        _ => false,
    }
}

fn comparison(operator: &BinaryOperator) -> Option<&'static str> {
    match operator {
        BinaryOperator::Eq => Some("="),
        BinaryOperator::NotEq => Some("<>"),
        BinaryOperator::Lt => Some("<"),
        BinaryOperator::LtEq => Some("<="),
        BinaryOperator::Gt => Some(">"),
        BinaryOperator::GtEq => Some(">="),
        _ => None,
    }
}

/// The word of an operator whose chains need no parentheses.
fn joining(operator: &BinaryOperator) -> Option<&'static str> {
    match operator {
        BinaryOperator::And => Some("AND"),
        BinaryOperator::Or => Some("OR"),
        BinaryOperator::Plus => Some("+"),
        BinaryOperator::Minus => Some("-"),
        BinaryOperator::Multiply => Some("*"),
        BinaryOperator::Divide => Some("/"),
        BinaryOperator::Modulo => Some("%"),
        BinaryOperator::StringConcat => Some("comptoir_join"),
        BinaryOperator::BitwiseAnd => Some("&"),
        BinaryOperator::BitwiseOr => Some("|"),
        BinaryOperator::PGBitwiseShiftLeft => Some("<<"),
        BinaryOperator::PGBitwiseShiftRight => Some(">>"),
        _ => None,
    }
}

fn no_operator(operator: &BinaryOperator) -> StorageError {
    match operator {
        BinaryOperator::Match => invalid("MATCH does not work on PostgreSQL: write LIKE"),
        BinaryOperator::Regexp => invalid("REGEXP does not work on PostgreSQL: write LIKE"),
        BinaryOperator::Glob => invalid("GLOB does not work on PostgreSQL: write LIKE"),
        _ => invalid("SQLite does not support this operator"),
    }
}

fn refused(expression: &Expr) -> StorageError {
    match expression {
        Expr::Tuple(_) => invalid("a row such as (a, b) is only allowed in comparisons"),
        Expr::Substring { .. } => invalid("the function substr does not work on PostgreSQL as on SQLite"),
        Expr::Trim { .. } => invalid("the function trim does not work on PostgreSQL as on SQLite"),
        Expr::RLike { .. } => invalid("REGEXP does not work on PostgreSQL: write LIKE"),
        Expr::ILike { .. } | Expr::SimilarTo { .. } => invalid("SQLite has neither ILIKE nor SIMILAR TO: write LIKE"),
        Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => invalid("SQLite has no IS UNKNOWN: write IS NULL"),
        Expr::AnyOp { .. } | Expr::AllOp { .. } => invalid("SQLite has neither ANY nor ALL: write IN or EXISTS"),
        Expr::TypedString(_) | Expr::Interval(_) => invalid("SQLite has neither typed strings nor INTERVAL"),
        _ => invalid("SQLite does not support this expression"),
    }
}

/// Whether an expression is a literal whole number of at least 1.
fn is_count(expression: &Expr) -> bool {
    let Expr::Value(value) = expression else { return false };
    matches!(&value.value, Value::Number(number, false) if number.parse().is_ok_and(|number: i32| number > 0))
}
