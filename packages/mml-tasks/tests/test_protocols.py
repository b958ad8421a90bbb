from mml_tasks import HasTargetStatistics


def test_data_module_with_statistics_is_recognized(data):
    assert isinstance(data, HasTargetStatistics)
    assert not isinstance(object(), HasTargetStatistics)
