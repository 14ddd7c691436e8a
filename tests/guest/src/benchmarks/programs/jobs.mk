# Makes that share one jobserver: four folders of work, three pieces in each.
folders := a b c d
all: $(folders)
$(folders):
	@+$(MAKE) -s -f jobs.mk $@.1 $@.2 $@.3
$(folders:=.1) $(folders:=.2) $(folders:=.3):
	@echo $@
.PHONY: all $(folders)
