/* Evaluates nodes for a task, selects the best one, and places the task there: one loop each.
 *
 * The planner calls this for every placement, mostly on few nodes, where array operations would
 * cost some forty calls. The arithmetic is that of `task_request`, `rank`, `headroom`, `trial_log`
 * and `fragmentation_table`, operation by operation, so that a site without a compiler places the
 * same; `test_loops.py` checks that.
 * Rare cases (GPUs that differ within a node, new profiles) are left to those modules: such nodes
 * are returned to the caller. Built without contraction of floating-point operations, which would
 * round differently.
 */

#include <math.h>
#include <stdint.h>

/* Version of the structures and functions below, mirrored in `native_structs.py`: incremented when
 * they change, to reject a library of another version. */
const int wattline_loops_layout = 6;

enum { NO_CLASS = 0, NOWHERE_YET = -1 };
static const int64_t PERMILLE = 1000;
static const int32_t WHOLE_MILLI = 1000;
static const double NANO_PER_MILLI = 1e6;

/* `Columns`, with its names. [node] unless specified. */
struct columns {
    int64_t node_count;
    int64_t slot_count;
    const uint8_t *is_open;
    const int32_t *gpu_class, *gpu_index, *idle_mw; /* [node, slot] */
    int32_t *free_milli;                            /* [node, slot] */
    int32_t *whole;
    int32_t *first_idle_mw; /* [n, node] */
    int64_t *cpus_free, *memory_free_bytes, *load_mw;
    const int64_t *one_class, *psu_permille, *warmth, *label_set, *group;
    int64_t group_count, depth;
    const int64_t *group_rows, *group_share; /* [n, group] */
    int64_t row_count;                       /* the last row is endless */
    int64_t *headroom_mw;                        /* [row] */
    const double *budget_mw;                 /* [row] at least 1 */
    int64_t has_mixed;
};

/* `Worths`. */
struct worths {
    const int64_t *profile, *worth_now; /* [node] */
    const int64_t *worth;               /* [profile, CPUs] */
    int64_t cpus_count;
};

/* `Ask` and `ShapeScores`. */
struct wanted {
    int64_t gpus, cpus, memory_bytes, about_mw;
    const uint8_t *is_suited; /* [class] */
    const uint8_t *has_labels; /* [label set] */
    const int64_t *task_mw;   /* [class] */
    const int64_t *draw_mw;   /* [class] */
    double *cost;             /* [node] */
    int64_t *needed_mw;       /* [node] */
};

/* `Weights`, prescaled. */
struct weights {
    double fragments_per_milli, warmth, cpus, watts_per_mw, stranding;
};

/* Cached headroom of the rows above a group. */
struct group {
    int64_t asked; /* the choice for which it was computed */
    int64_t most_mw;
    double share_left;
};

/* One trial. */
struct trial {
    struct columns *columns;
    const struct weights *weights;
    struct group *groups;
    int64_t choices; /* made so far */
    int64_t *rest;   /* [node] nodes that `look` leaves to its caller */
    int64_t rest_count;
    int64_t *gpus; /* [GPU] taken by `place`: the node's own indices, ascending */
};

static int64_t floor_div(int64_t a, int64_t b) { /* b > 0 */
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

static int covers(int64_t free, int64_t wanted) { return free >= wanted || wanted == 0; }

static int fits(const struct columns *c, const struct wanted *l, int64_t at) {
    return c->is_open[at] && c->whole[at] >= l->gpus && covers(c->cpus_free[at], l->cpus) &&
           covers(c->memory_free_bytes[at], l->memory_bytes) && l->has_labels[c->label_set[at]];
}

static int64_t wall_mw(const struct columns *c, int64_t at, int64_t load_mw) {
    return -floor_div(-load_mw * PERMILLE, c->psu_permille[at]);
}

/* Profile of a node after allocating the task; NOWHERE_YET: the caller must compute it. */
static int64_t leads_to(const struct worths *w, const int64_t *leads, int64_t at) {
    int64_t number = w->profile[at];
    return leads ? leads[number] : number;
}

/* Evaluate a node for which `fits` is true; 0: the caller must evaluate it. */
static int evaluate_node(const struct columns *c, const struct worths *w,
                         const struct weights *weights, const struct wanted *l,
                         const int64_t *leads, int64_t at) {
    int64_t after = leads_to(w, leads, at);
    if (after == NOWHERE_YET || c->psu_permille[at] <= 0) return 0;
    int64_t rise_mw =
        l->task_mw[c->one_class[at]] - c->first_idle_mw[l->gpus * c->node_count + at];
    int64_t load_mw = c->load_mw[at];
    int64_t needed_mw = wall_mw(c, at, load_mw + rise_mw) - wall_mw(c, at, load_mw);
    int64_t cpus_left = c->cpus_free[at] - l->cpus;
    int64_t left = w->worth[after * w->cpus_count + (cpus_left > 0 ? cpus_left : 0)];
    double cost = weights->fragments_per_milli * ((double)(w->worth_now[at] - left) / NANO_PER_MILLI);
    cost += weights->warmth * (double)c->warmth[at];
    cost -= weights->cpus * (double)c->cpus_free[at];
    if (weights->watts_per_mw != 0.0) cost += weights->watts_per_mw * (double)needed_mw;
    l->needed_mw[at] = needed_mw;
    l->cost[at] = cost;
    return 1;
}

/* Re-evaluate nodes touched after `seen`; returns the number of nodes evaluated here that fit the
 * task. The others are left in `rest`. */
int64_t wattline_evaluate(struct trial *trial, const struct worths *w, const struct wanted *l,
                          const int64_t *leads, const int64_t *touched, int64_t seen) {
    const struct columns *c = trial->columns;
    int64_t able = 0, left_over = 0;
    for (int64_t at = 0; at < c->node_count; at++) {
        if (touched[at] <= seen) continue;
        l->cost[at] = INFINITY;
        if (!fits(c, l, at)) continue;
        int64_t class = c->one_class[at];
        int is_mixed = l->gpus && class == NO_CLASS && c->has_mixed;
        if (!is_mixed && l->gpus && !l->is_suited[class]) continue;
        if (!is_mixed && evaluate_node(c, w, trial->weights, l, leads, at)) able++;
        else trial->rest[left_over++] = at;
    }
    trial->rest_count = left_over;
    return able;
}

static void ask_rows(const struct columns *c, const int64_t *given_back_mw, int64_t about_mw,
                     int64_t number, struct group *group) {
    int64_t most_mw = INT64_MAX;
    double share_left = INFINITY;
    for (int64_t n = 0; n < c->depth; n++) {
        int64_t row = c->group_rows[n * c->group_count + number];
        int64_t share = c->group_share[n * c->group_count + number];
        double left = (double)(c->headroom_mw[row] - about_mw) / c->budget_mw[row];
        int64_t mw = c->headroom_mw[row] + given_back_mw[row];
        if (share != PERMILLE) mw = floor_div(mw * PERMILLE, share);
        if (left < share_left) share_left = left;
        if (mw < most_mw) most_mw = mw;
    }
    group->share_left = share_left;
    group->most_mw = most_mw > 0 ? most_mw : 0;
}

/* The first of the cheapest nodes that fit the task and whose rows have the watts; -1: none. */
static int64_t best_of(struct trial *trial, const struct wanted *l, const int64_t *given_back_mw,
                       const uint8_t *barred) {
    const struct columns *c = trial->columns;
    int64_t best = -1, choice = ++trial->choices;
    double least = INFINITY;
    for (int64_t at = 0; at < c->node_count; at++) {
        double cost = l->cost[at];
        if (!(cost < INFINITY) || (barred && barred[at])) continue;
        struct group *group = &trial->groups[c->group[at]];
        if (group->asked != choice) {
            ask_rows(c, given_back_mw, l->about_mw, c->group[at], group);
            group->asked = choice;
        }
        cost += -trial->weights->stranding * group->share_left;
        if (cost < least && l->needed_mw[at] <= group->most_mw) {
            least = cost;
            best = at;
        }
    }
    return best;
}

/* Allocate GPUs to the task, in slot order; returns the additional draw. */
static int64_t take_gpus(struct columns *c, const struct wanted *l, int64_t at, int64_t *gpus) {
    int64_t rise_mw = 0, taken = 0, first = at * c->slot_count;
    for (int64_t slot = first; slot < first + c->slot_count && taken < l->gpus; slot++) {
        int32_t class = c->gpu_class[slot];
        if (c->free_milli[slot] < WHOLE_MILLI || !l->is_suited[class]) continue;
        int64_t more_mw = l->draw_mw[class] - c->idle_mw[slot];
        if (more_mw > 0) rise_mw += more_mw;
        c->free_milli[slot] -= WHOLE_MILLI;
        int64_t place = taken++;
        for (; place > 0 && gpus[place - 1] > c->gpu_index[slot]; place--)
            gpus[place] = gpus[place - 1];
        gpus[place] = c->gpu_index[slot];
    }
    return rise_mw;
}

/* Update the columns derived from the free GPUs of a node. */
static void note_slots(struct columns *c, int64_t at) {
    int32_t whole = 0;
    int64_t total_mw = 0;
    c->first_idle_mw[at] = 0;
    for (int64_t slot = at * c->slot_count; slot < (at + 1) * c->slot_count; slot++) {
        if (c->free_milli[slot] != WHOLE_MILLI) continue;
        total_mw += c->idle_mw[slot];
        c->first_idle_mw[++whole * c->node_count + at] =
            total_mw < INT32_MAX ? (int32_t)total_mw : INT32_MAX;
    }
    c->whole[at] = whole;
}

static void take_watts(struct columns *c, int64_t at, int64_t rise_mw) {
    int64_t load_mw = c->load_mw[at];
    int64_t taken_mw = wall_mw(c, at, load_mw + rise_mw) - wall_mw(c, at, load_mw);
    int is_filled_up = 0;
    c->load_mw[at] = load_mw + rise_mw;
    for (int64_t n = 0; n < c->depth; n++) {
        int64_t row = c->group_rows[n * c->group_count + c->group[at]];
        int64_t share = c->group_share[n * c->group_count + c->group[at]];
        if (row == c->row_count - 1 && is_filled_up++) continue; /* once, as in `Rooms` */
        c->headroom_mw[row] -= -floor_div(-taken_mw * share, PERMILLE);
    }
}

/* Choose a node for the task and place it there; returns its position, or -1 if no node fits.
 * `barred`: [node], or NULL. */
int64_t wattline_place(struct trial *trial, const struct wanted *l, const int64_t *given_back_mw,
                       const uint8_t *barred) {
    struct columns *c = trial->columns;
    int64_t at = best_of(trial, l, given_back_mw, barred);
    if (at < 0) return at;
    take_watts(c, at, take_gpus(c, l, at, trial->gpus));
    note_slots(c, at);
    c->cpus_free[at] -= l->cpus;
    c->memory_free_bytes[at] -= l->memory_bytes;
    return at;
}
