"Plain values of every kind, for Hypothesis"

from hypothesis import strategies as st

single = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)


def several(inner):
    return (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers())
    )


plain_values = st.recursive(single, several, max_leaves=8)
