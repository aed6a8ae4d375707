package interpreter

import "example.org/replay/model"

// queue holds the fibers that can run: first ready first. It is the only source of order.
type queue struct {
	turns []turn
	head  int
}

func (q *queue) empty() bool { return q.head == len(q.turns) }

func (q *queue) push(next turn) { q.turns = append(q.turns, next) }

func (q *queue) pushFront(next turn) {
	if q.head > 0 {
		q.head--
		q.turns[q.head] = next
		return
	}
	q.turns = append([]turn{next}, q.turns...)
}

func (q *queue) pop() (turn, bool) {
	if q.empty() {
		return turn{}, false
	}
	next := q.turns[q.head]
	q.turns[q.head] = turn{}
	if q.head++; q.head == len(q.turns) {
		q.turns, q.head = q.turns[:0], 0
	}
	return next, true
}

// commands are the pending ones: found by id, listed in order of issue.
type commands struct {
	byID        map[string]*Command
	first, last *Command
}

func (c *commands) add(command *Command) {
	c.byID[command.ID] = command
	if command.before = c.last; c.last == nil {
		c.first = command
	} else {
		c.last.after = command
	}
	c.last = command
}

func (c *commands) remove(command *Command) {
	if c.byID[command.ID] != command {
		return
	}
	delete(c.byID, command.ID)
	if command.before == nil {
		c.first = command.after
	} else {
		command.before.after = command.after
	}
	if command.after == nil {
		c.last = command.before
	} else {
		command.after.before = command.before
	}
	command.before, command.after = nil, nil
}

func (c *commands) list() []*Command {
	listed := make([]*Command, 0, len(c.byID))
	for command := c.first; command != nil; command = command.after {
		listed = append(listed, command)
	}
	return listed
}

// fibers are those that run beside the root, in the order in which they were made.
type fibers struct {
	place map[*Fiber]int
	order []*Fiber
}

func (s *fibers) empty() bool { return len(s.place) == 0 }

func (s *fibers) add(f *Fiber) {
	if s.place == nil {
		s.place = map[*Fiber]int{}
	}
	s.place[f] = len(s.order)
	s.order = append(s.order, f)
}

func (s *fibers) remove(f *Fiber) {
	place, ok := s.place[f]
	if !ok {
		return
	}
	delete(s.place, f)
	s.order[place] = nil
	if len(s.place) == 0 {
		s.order = s.order[:0]
	} else if len(s.order) > 2*len(s.place)+16 {
		s.order = s.list()
		for place, fiber := range s.order {
			s.place[fiber] = place
		}
	}
}

func (s *fibers) list() []*Fiber {
	listed := make([]*Fiber, 0, len(s.place))
	for _, fiber := range s.order {
		if fiber != nil {
			listed = append(listed, fiber)
		}
	}
	return listed
}

// mail holds signals that nobody has read: by name, names in the order in which their first unread one came.
type mail struct {
	names   []string
	letters map[string][][]byte
}

func (m *mail) put(name string, payload []byte) {
	if m.letters == nil {
		m.letters = map[string][][]byte{}
	}
	if len(m.letters[name]) == 0 {
		m.names = append(m.names, name)
	}
	m.letters[name] = append(m.letters[name], payload)
}

func (m *mail) take(name string) ([]byte, bool) {
	waiting := m.letters[name]
	if len(waiting) == 0 {
		return nil, false
	}
	if m.letters[name] = waiting[1:]; len(waiting) == 1 {
		delete(m.letters, name)
		for place, known := range m.names {
			if known == name {
				m.names = append(m.names[:place], m.names[place+1:]...)
				break
			}
		}
	}
	return waiting[0], true
}

func (m *mail) list() []model.Letter {
	var unread []model.Letter
	for _, name := range m.names {
		for _, payload := range m.letters[name] {
			unread = append(unread, model.Letter{Name: name, Payload: payload})
		}
	}
	return unread
}
