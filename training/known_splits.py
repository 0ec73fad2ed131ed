"""Trees in which some columns are known already: the splits on them are taken, and the others are left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_ROWS = 2**30  # that the root of a tree stands for; branches share them as they did before
_IS_CATEGORY = 1  # bit of a decision type
_WORD = 32  # bits


@dataclass(frozen=True)
class Tree:
    """One tree of a LightGBM model text; nodes are numbered from 0, leaf k is written −1 − k."""

    column: tuple[int, ...]  # of each node
    threshold: tuple[str, ...]  # of each node; of a category, the number of its set
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    node_rows: tuple[float, ...]
    leaf_rows: tuple[float, ...]
    leaf_value: tuple[str, ...]
    set_ends: tuple[int, ...]  # of the sets of categories that go left
    words: tuple[int, ...]  # of these sets, as bits

    @classmethod
    def parse(cls, text: str) -> "Tree":
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

        def numbers(key: str) -> tuple[int, ...]:
            return tuple(int(number) for number in said.get(key, "").split())

        return cls(
            column=numbers("split_feature"),
            threshold=tuple(said.get("threshold", "").split()),
            decision=numbers("decision_type"),
            left=numbers("left_child"),
            right=numbers("right_child"),
            node_rows=numbers("internal_count"),
            leaf_rows=numbers("leaf_count"),
            leaf_value=tuple(said["leaf_value"].split()),
            set_ends=numbers("cat_boundaries"),
            words=numbers("cat_threshold"),
        )

    def rows(self, node: int) -> float:
        return self.node_rows[node] if node >= 0 else self.leaf_rows[~node]

    def goes_left(self, node: int, value: float) -> bool:
        if not self.decision[node] & _IS_CATEGORY:
            return value <= float(self.threshold[node])
        number = int(float(self.threshold[node]))
        words = self.words[self.set_ends[number] : self.set_ends[number + 1]]
        word, bit = divmod(int(value), _WORD)
        return word < len(words) and bool(words[word] >> bit & 1)

    def follow(self, node: int, known: Mapping[int, float]) -> int:
        """The first node from here on, this included, that is a leaf or asks for what is not known."""
        while node >= 0 and self.column[node] in known:
            left = self.goes_left(node, known[self.column[node]])
            node = self.left[node] if left else self.right[node]
        return node


@dataclass
class _Rest:
    """The nodes and leaves that are left of a tree, numbered anew."""

    tree: Tree
    known: Mapping[int, float]
    nodes: list[int] = field(default_factory=list)  # as they were numbered before
    children: dict[int, tuple[int, int]] = field(default_factory=dict)
    node_rows: list[int] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    leaf_rows: list[int] = field(default_factory=list)

    def add(self, node: int, rows: int) -> int:
        """This node, or what is left of it, and all below; returns its number."""
        node = self.tree.follow(node, self.known)
        if node < 0:
            self.leaves.append(~node)
            self.leaf_rows.append(rows)
            return ~(len(self.leaves) - 1)
        number = len(self.nodes)
        self.nodes.append(node)
        self.node_rows.append(rows)
        left, right = self.tree.left[node], self.tree.right[node]
        share = self.tree.rows(left) / (self.tree.rows(left) + self.tree.rows(right))
        to_left = max(round(rows * share), 1)
        self.children[number] = (self.add(left, to_left), self.add(right, max(rows - to_left, 1)))
        return number

    def lines(self) -> Iterator[str]:
        tree = self.tree
        left, right = zip(*(self.children[number] for number in range(len(self.nodes))), strict=True)
        yield f"num_leaves={len(self.leaves)}"
        yield f"num_cat={max(0, len(tree.set_ends) - 1)}"
        yield _line("split_feature", [tree.column[node] for node in self.nodes])
        yield _line("threshold", [tree.threshold[node] for node in self.nodes])
        yield _line("decision_type", [tree.decision[node] for node in self.nodes])
        yield _line("left_child", left)
        yield _line("right_child", right)
        yield _line("leaf_value", [tree.leaf_value[leaf] for leaf in self.leaves])
        yield _line("leaf_count", self.leaf_rows)
        yield _line("internal_count", self.node_rows)
        if tree.set_ends:
            yield _line("cat_boundaries", tree.set_ends)
            yield _line("cat_threshold", tree.words)
        yield "is_linear=0"
        yield "shrinkage=1"


@dataclass(frozen=True)
class Trees:
    """A LightGBM model as text, taken apart."""

    head: str
    trees: tuple[Tree, ...]

    @classmethod
    def parse(cls, text: str) -> "Trees":
        head, *blocks = text.partition("end of trees")[0].split("\nTree=")
        kept = [line for line in head.splitlines() if not line.startswith("tree_sizes=")]  # sizes in bytes
        return cls("\n".join(kept), tuple(Tree.parse(block) for block in blocks))

    def where(self, known: Mapping[int, float]) -> tuple[float, str | None]:
        """What the trees say where these columns have these values, none of them unknown.

        Branches keep their shares of the rows, so TreeSHAP of what is left compares a row with others
        of the same values.

        Returns
        -------
        constant : float
            The sum of the trees that ask for nothing else.
        text : str or None
            A model of the others; None where there are none.
        """
        constant = 0.0
        texts: list[str] = []
        for tree in self.trees:
            rest = _Rest(tree, known)
            rest.add(0 if tree.column else ~0, _ROWS)
            if rest.nodes:
                texts.append("\n".join([f"Tree={len(texts)}", *rest.lines()]))
            else:
                constant += float(tree.leaf_value[rest.leaves[0]])
        if not texts:
            return constant, None
        return constant, "\n\n".join([self.head, *texts, "end of trees\n"])


def _line(key: str, values: Sequence[object]) -> str:
    return f"{key}={' '.join(map(str, values))}"
